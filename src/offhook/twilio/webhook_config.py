"""What Twilio has set for those who receive messages, against what offhook expects. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class Kind(StrEnum):
    """What receives messages at Twilio."""

    NUMBER = "number"
    SERVICE = "service"  # a Messaging Service, with numbers in its sender pool
    WHATSAPP = "whatsapp"  # a number as a WhatsApp sender


class Part(StrEnum):
    """What can be set for a receiver."""

    URL = "webhook"
    METHOD = "method"
    FALLBACK = "fallback"
    FALLBACK_METHOD = "fallback method"
    STATUS = "status callback"
    APPLICATION = "application"  # a TwiML application's webhook goes before the number's
    DEFERS = "leaves it to its numbers"


@dataclass(frozen=True, slots=True)
class Receiver:
    """A number, a Messaging Service or a WhatsApp sender, as Twilio has it.

    Attributes:
        address: what people write to, or the service's SID.
        now: what is set; empty, or missing, where nothing is.
        decided_by: the Messaging Service whose webhook goes before this number's.
        pool: the numbers of a Messaging Service.
    """

    kind: Kind
    sid: str
    address: str
    name: str = ""
    now: Mapping[Part, str] | None = None
    decided_by: str = ""
    pool: Sequence[str] = ()

    def has(self, part: Part) -> str:
        """Return what is set."""
        return (self.now or {}).get(part, "")

    @property
    def defers(self) -> bool:
        """Whether it is a Messaging Service that leaves messages to its numbers' webhooks."""
        return bool(self.has(Part.DEFERS))


class Wanted(NamedTuple):
    """What should be set.

    Attributes:
        url: the webhook, with its connection overrides.
        fallback_url: who is asked when that has failed; empty to keep the one there is, and take
            the webhook itself where there is none: it gives a message a second round.
        status_callback: for what others send; empty to leave it. Our sends name their own.
    """

    url: str
    fallback_url: str = ""
    status_callback: str = ""


class Difference(NamedTuple):
    """One setting that is not as it should be."""

    part: Part
    now: str
    wanted: str


POST: Final = "POST"

SHORT_CODE: Final = 6
"""Digits of a short code at most; they have no plus."""

# What people put between digits, and what they leave out.
_BETWEEN: Final = str.maketrans("", "", " -.()/")

# https://www.twilio.com/docs/phone-numbers/api/incomingphonenumber-resource
# https://www.twilio.com/docs/messaging/api/service-resource
# https://www.twilio.com/docs/whatsapp/api/senders
PARAMETERS: Final[Mapping[Kind, Mapping[Part, str]]] = {
    Kind.NUMBER: {
        Part.URL: "SmsUrl",
        Part.METHOD: "SmsMethod",
        Part.FALLBACK: "SmsFallbackUrl",
        Part.FALLBACK_METHOD: "SmsFallbackMethod",
        Part.APPLICATION: "SmsApplicationSid",
    },
    Kind.SERVICE: {
        Part.URL: "InboundRequestUrl",
        Part.METHOD: "InboundMethod",
        Part.FALLBACK: "FallbackUrl",
        Part.FALLBACK_METHOD: "FallbackMethod",
        Part.STATUS: "StatusCallback",
        Part.DEFERS: "UseInboundWebhookOnNumber",
    },
    Kind.WHATSAPP: {
        Part.URL: "callback_url",
        Part.METHOD: "callback_method",
        Part.FALLBACK: "fallback_url",
        Part.FALLBACK_METHOD: "fallback_method",
        Part.STATUS: "status_callback_url",
    },
}
"""What Twilio calls each part, when it is changed."""


def address_of(text: str) -> str:
    """Return a number as Twilio writes it: `+15551230001`, with `whatsapp:` before it if it was."""
    channel, separator, number = text.strip().rpartition(":")
    digits = number.translate(_BETWEEN)
    plus = "+" if digits.isascii() and digits.isdigit() and len(digits) > SHORT_CODE else ""
    return f"{channel.lower()}{separator}{plus}{digits}"


def differences(receiver: Receiver, wanted: Wanted) -> tuple[Difference, ...]:
    """Return what has to be changed for messages to a receiver to reach us, and keep reaching us.

    The status callback of a number is for calls, and no part of this.
    """
    expected = {Part.URL: wanted.url, Part.METHOD: POST, Part.APPLICATION: "", Part.DEFERS: ""}
    fallback = wanted.fallback_url or receiver.has(Part.FALLBACK) or wanted.url
    expected[Part.FALLBACK] = fallback
    if fallback != receiver.has(Part.FALLBACK) or fallback == wanted.url:
        expected[Part.FALLBACK_METHOD] = POST  # somebody else's is not ours to change
    if wanted.status_callback:
        expected[Part.STATUS] = wanted.status_callback
    return tuple(
        Difference(part, receiver.has(part), expected[part])
        for part in PARAMETERS[receiver.kind]
        if part in expected and receiver.has(part) != expected[part]
    )


def changes(kind: Kind, found: Sequence[Difference]) -> dict[str, str]:
    """Return the parameters that make the differences go."""
    names = PARAMETERS[kind]
    return {names[one.part]: "false" if one.part is Part.DEFERS else one.wanted for one in found}


def leads_here(receiver: Receiver, wanted: Wanted) -> bool:
    """Return whether messages get to the webhook at all, with or without overrides."""
    if receiver.defers or receiver.has(Part.APPLICATION) or receiver.decided_by:
        return False
    return receiver.has(Part.URL).partition("#")[0] == wanted.url.partition("#")[0]
