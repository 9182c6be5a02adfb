"""How a rule stands: from one reading to the next, without flapping. Decides, and does nothing."""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final

from offhook.alerts.rules import UNKNOWN, Level, Reading, Rule

CLEAR_AFTER: Final = 60.0
"""Seconds that it must have been better."""

_ORDER: Final = (None, Level.WARNING, Level.CRITICAL)


class Stage(StrEnum):
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
class Change:
    """What somebody should be told. An alert that is over is told of as it was last."""

    stage: Stage
    alert: Alert


@dataclass(frozen=True, slots=True)
class Standing:
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
    rule: Rule, standing: Standing, value: Reading, now: float
) -> tuple[Standing, Change | None]:
    """Return how a rule stands after a reading, and what is to be told.

    Args:
        rule: the rule.
        standing: how it stood.
        value: what was read; None for nothing, which is well. What is unknown changes nothing.
        now: in epoch seconds.
    """
    if value is UNKNOWN:
        return standing, None
    alert = standing.alert
    level = alert.level if alert else None
    target = _target(rule, level, value)
    if target is level:
        if alert is not None and value is not None:
            alert = replace(alert, value=value, text=rule.sentence(value))
        return Standing(alert, level, now), None
    worse = _ORDER.index(target) > _ORDER.index(level)
    lasts = standing.towards is target
    if worse and _ORDER.index(standing.towards) > _ORDER.index(level):
        lasts, target = True, min(target, standing.towards, key=_ORDER.index)
    began = standing.began if lasts else now
    if now - began < (rule.patience if worse else CLEAR_AFTER):
        return Standing(alert, target, began), None
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
) -> tuple[Standing, Change | None]:
    if target is None:
        over = Change(Stage.CLEARED, alert) if alert else None
        return Standing(None, None, now), over
    stage = Stage.CHANGED if alert else Stage.RAISED
    since = alert.since if alert else now
    raised = Alert(rule.name, target, value, rule.sentence(value), rule.remedy, since)
    return Standing(raised, target, now), Change(stage, raised)
