"""The switches for trouble, and what each does to the simulated Twilio."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from offhook.twilio.simulator import Trouble

PHONE_OFF: Final = 30003
"""What Twilio says of a phone that is off: https://www.twilio.com/docs/api/errors/30003"""


class Switch(StrEnum):
    """A kind of trouble."""

    TWICE = "twice"
    DISORDER = "disorder"
    DROP = "drop"
    LIMIT = "limit"
    SLOW = "slow"


@dataclass(frozen=True, slots=True)
class Label:
    """What a switch is called, and what happens while it is on."""

    name: str
    effect: str


LABELS: Final[Mapping[Switch, Label]] = {
    Switch.TWICE: Label("Deliver twice", "Each webhook and status callback comes two times."),
    Switch.DISORDER: Label("Out of order", "Status callbacks come last first."),
    Switch.DROP: Label(
        "Drop the connection", "Twilio takes each reply, but its answer never arrives."
    ),
    Switch.LIMIT: Label("Answer 429", "Twilio takes no replies until this is off again."),
    Switch.SLOW: Label("Slow network", "Every request takes a second longer."),
}

_EFFECTS: Final[Mapping[Switch, Mapping[str, Any]]] = {
    Switch.TWICE: {"duplicates": 1},
    Switch.DISORDER: {"reorder_statuses": True},
    Switch.DROP: {"lost_answers": 1.0},
    Switch.LIMIT: {"rate_limited": 1.0, "retry_after": 1},
    Switch.SLOW: {"webhook_delay": 1.0, "answer_delay": 1.0},
}


def trouble_of(on: frozenset[Switch], unreachable: frozenset[str]) -> Trouble:
    """Return how the simulator shall behave.

    Args:
        on: the switches that are on.
        unreachable: the addresses of people whose phone is off.
    """
    effects: dict[str, Any] = {}
    for switch in on:
        effects |= _EFFECTS[switch]
    return Trouble(**effects, undelivered=dict.fromkeys(unreachable, PHONE_OFF))
