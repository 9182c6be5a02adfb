"""A simulated Twilio for development and tests: no account, no tunnel."""

from offhook.twilio.simulator.captures import Text, inbound
from offhook.twilio.simulator.history import (
    Delivered,
    Event,
    Listener,
    Outbound,
    StatusCallback,
)
from offhook.twilio.simulator.line import Answer, Call, Line
from offhook.twilio.simulator.simulator import Credentials, Simulator
from offhook.twilio.simulator.trouble import Trouble
from offhook.twilio.simulator.twiml import Said

__all__ = [
    "Answer",
    "Call",
    "Credentials",
    "Delivered",
    "Event",
    "Line",
    "Listener",
    "Outbound",
    "Said",
    "Simulator",
    "StatusCallback",
    "Text",
    "Trouble",
    "inbound",
]
