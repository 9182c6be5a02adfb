"""How a rule stands: from one reading to the next, without flapping. Decides, and does nothing."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from offhook.alerts.rules import UNKNOWN, Level, Reading, Rule

CLEAR_AFTER: Final = 60.0
"""Seconds that it must have been better."""

_ORDER: Final = (None, Level.WARNING, Level.CRITICAL)


class Transition(StrEnum):
    """What has become of an alert."""

    RAISED = "raised"
    CHANGED = "changed"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True)
class Alert:
    """An alert that is raised.

    Attributes:
        name: of its rule.
        value: what was read last.
        text: what is the matter.
        remedy: what to do about it.
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
    """What somebody should be told. An alert that is over is told of as it was last."""

    stage: Transition
    alert: Alert


@dataclass(frozen=True, slots=True)
class RuleState:
    """How a rule stands.

    Attributes:
        alert: None when all is well.
        towards: the level that is about to be reached; of several that were worse, the mildest.
        began: when it was first read, in epoch seconds.
    """

    alert: Alert | None = None
    towards: Level | None = None
    began: float = 0.0


def advance(
    rule: Rule, state: RuleState, value: Reading, now: float
) -> tuple[RuleState, AlertChange | None]:
    """Return how a rule stands after a reading, and what is to be told.

    Args:
        rule: the rule.
        state: how it stood.
        value: what was read; None for nothing, which is well. What is unknown changes nothing.
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
    if now - began < (rule.patience if worse else CLEAR_AFTER):
        return RuleState(alert, target, began), None
    return _reach(rule, alert, target, value or 0.0, now)


def _target(rule: Rule, level: Level | None, value: float | None) -> Level | None:
    """Return the level that a reading speaks for: the present one, until it is clearly better."""
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
