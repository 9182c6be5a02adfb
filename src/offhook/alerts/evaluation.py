"""Evaluate rules with hysteresis, so that alerts do not flap. No I/O."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from offhook.alerts.rules import UNKNOWN, Level, Reading, Rule

CLEAR_AFTER: Final = 60.0
"""Seconds that readings must stay below the level before an alert is lowered or cleared."""

_ORDER: Final = (None, Level.WARNING, Level.CRITICAL)


class Transition(StrEnum):
    """What happened to an alert."""

    RAISED = "raised"
    CHANGED = "changed"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Alert:
    """A raised alert.

    Attributes:
        name: of its rule.
        value: the last reading.
        text: a sentence on the problem.
        remedy: how to fix it.
        since: when it was raised, in epoch seconds.
    """

    name: str
    level: Level
    value: float
    text: str
    remedy: str
    since: float


@dataclass(frozen=True, slots=True)
class AlertChange:
    """A change to report. A cleared alert is reported with its last values."""

    stage: Transition
    alert: Alert


@dataclass(frozen=True, slots=True)
class RuleState:
    """The state of a rule.

    Attributes:
        alert: None if it is not raised.
        towards: the pending level; of several worse ones that were read, the mildest.
        began: when the pending level was first read, in epoch seconds.
    """

    alert: Alert | None = None
    towards: Level | None = None
    began: float = 0.0


def advance(
    rule: Rule, state: RuleState, value: Reading, now: float
) -> tuple[RuleState, AlertChange | None]:
    """Return a rule's state after a reading, and the change to report.

    Args:
        rule: the rule.
        state: its state before.
        value: the reading; None counts as healthy, UNKNOWN changes nothing.
        now: in epoch seconds.
    """
    if value is UNKNOWN:
        return state, None
    alert = state.alert
    level = alert.level if alert else None
    target = _target(rule, level, value)
    if target is level:
        if alert is not None and value is not None:
            alert = replace(alert, value=value, text=rule.sentence(value))
        return RuleState(alert, level, now), None
    worse = _ORDER.index(target) > _ORDER.index(level)
    lasts = state.towards is target
    if worse and _ORDER.index(state.towards) > _ORDER.index(level):
        lasts, target = True, min(target, state.towards, key=_ORDER.index)
    began = state.began if lasts else now
    if now - began < (rule.raise_after if worse else CLEAR_AFTER):
        return RuleState(alert, target, began), None
    return _reach(rule, alert, target, value or 0.0, now)


def _target(rule: Rule, level: Level | None, value: float | None) -> Level | None:
    """Return the level of a reading; the present one until the reading is below its `ease`."""
    rising = rule.level(value)
    if _ORDER.index(rising) >= _ORDER.index(level):
        return rising
    easing = rule.level(value, share=rule.ease)
    return min(easing, level, key=_ORDER.index)


def _reach(
    rule: Rule, alert: Alert | None, target: Level | None, value: float, now: float
) -> tuple[RuleState, AlertChange | None]:
    if target is None:
        over = AlertChange(Transition.CLEARED, alert) if alert else None
        return RuleState(None, None, now), over
    stage = Transition.CHANGED if alert else Transition.RAISED
    since = alert.since if alert else now
    raised = Alert(rule.name, target, value, rule.sentence(value), rule.remedy, since)
    return RuleState(raised, target, now), AlertChange(stage, raised)
