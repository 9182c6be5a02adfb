"""A simulated Twilio for development and tests: no account, no tunnel."""

from offhook.twilio.made_up import Credentials
from offhook.twilio.simulator.account import Account
from offhook.twilio.simulator.delivery import Request, WebhookCall, WebhookClient, WebhookResponse
from offhook.twilio.simulator.faults import Trouble
from offhook.twilio.simulator.log import (
    Delivered,
    Event,
    Listener,
    Outbound,
    RestCall,
    StatusCallback,
    Texted,
    TypingShown,
)
from offhook.twilio.simulator.media import File
from offhook.twilio.simulator.payloads import Text, inbound
from offhook.twilio.simulator.simulator import Simulator
from offhook.twilio.simulator.together import served_together
from offhook.twilio.simulator.twiml import Said

__all__ = [
    "Account",
    "Credentials",
    "Delivered",
    "Event",
    "File",
    "Listener",
    "Outbound",
    "Request",
    "RestCall",
    "Said",
    "Simulator",
    "StatusCallback",
    "Text",
    "Texted",
    "Trouble",
    "TypingShown",
    "WebhookCall",
    "WebhookClient",
    "WebhookResponse",
    "inbound",
    "served_together",
]
