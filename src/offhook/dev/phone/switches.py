"""The switches for faults, and the effect of each on the simulated Twilio."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Final

from offhook.twilio.simulator import Trouble

PHONE_OFF: Final = 30003
"""Twilio's code for an unreachable phone: https://www.twilio.com/docs/api/errors/30003"""


class FaultSwitch(StrEnum):
    """A fault that can be switched on."""

    TWICE = "twice"
    DISORDER = "disorder"
    DROP = "drop"
    LIMIT = "limit"
    SLOW = "slow"
    WINDOW = "window"


@dataclass(frozen=True, slots=True)
class SwitchLabel:
    """The label of a switch, and its effect while it is on."""

    name: str
    effect: str


LABELS: Final[Mapping[FaultSwitch, SwitchLabel]] = {
    FaultSwitch.TWICE: SwitchLabel(
        "Deliver twice", "Each webhook and status callback is delivered twice."
    ),
    FaultSwitch.DISORDER: SwitchLabel("Out of order", "Status callbacks arrive in reverse order."),
    FaultSwitch.DROP: SwitchLabel(
        "Drop the connection", "Twilio accepts each reply, but its response is lost."
    ),
    FaultSwitch.LIMIT: SwitchLabel("Answer 429", "Twilio accepts no replies while this is on."),
    FaultSwitch.SLOW: SwitchLabel("Slow network", "Every request takes a second longer."),
    FaultSwitch.WINDOW: SwitchLabel(
        "WhatsApp's window closed",
        "WhatsApp delivers only templates, as 24 hours after a person's last message.",
    ),
}

_EFFECTS: Final[Mapping[FaultSwitch, Mapping[str, Any]]] = {
    FaultSwitch.TWICE: {"duplicates": 1},
    FaultSwitch.DISORDER: {"reorder_statuses": True},
    FaultSwitch.DROP: {"lost_answers": 1.0},
    FaultSwitch.LIMIT: {"rate_limited": 1.0, "retry_after": 1},
    FaultSwitch.SLOW: {"webhook_delay": 1.0, "answer_delay": 1.0},
    FaultSwitch.WINDOW: {"whatsapp_window": 0.0},
}


def trouble_for(on: frozenset[FaultSwitch], unreachable: frozenset[str]) -> Trouble:
    """Return the faults for the simulator.

    Args:
        on: the switches that are on.
        unreachable: the addresses of contacts whose phone is off.
    """
    effects: dict[str, Any] = {}
    for switch in on:
        effects |= _EFFECTS[switch]
    return Trouble(**effects, undelivered=dict.fromkeys(unreachable, PHONE_OFF))
