"""What Twilio has set for those who receive messages, against what offhook expects. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class TargetKind(StrEnum):
    """What receives messages at Twilio."""

    NUMBER = "number"
    SERVICE = "service"  # a Messaging Service, with numbers in its sender pool
    WHATSAPP = "whatsapp"  # a number as a WhatsApp sender


class WebhookSetting(StrEnum):
    """What can be set for a receiver."""

    URL = "webhook"
    METHOD = "method"
    FALLBACK = "fallback"
    FALLBACK_METHOD = "fallback method"
    STATUS = "status callback"
    APPLICATION = "application"  # a TwiML application's webhook goes before the number's
    DEFERS = "leaves it to its numbers"


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """A number, a Messaging Service or a WhatsApp sender, as Twilio has it.

    Attributes:
        address: what people write to, or the service's SID.
        now: what is set; empty, or missing, where nothing is.
        decided_by: the Messaging Service whose webhook goes before this number's.
        pool: the numbers of a Messaging Service.
    """

    kind: TargetKind
    sid: str
    address: str
    name: str = ""
    now: Mapping[WebhookSetting, str] | None = None
    decided_by: str = ""
    pool: Sequence[str] = ()

    def has(self, part: WebhookSetting) -> str:
        """Return what is set."""
        return (self.now or {}).get(part, "")

    @property
    def defers(self) -> bool:
        """Whether it is a Messaging Service that leaves messages to its numbers' webhooks."""
        return bool(self.has(WebhookSetting.DEFERS))


class DesiredConfig(NamedTuple):
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

    part: WebhookSetting
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
PARAMETERS: Final[Mapping[TargetKind, Mapping[WebhookSetting, str]]] = {
    TargetKind.NUMBER: {
        WebhookSetting.URL: "SmsUrl",
        WebhookSetting.METHOD: "SmsMethod",
        WebhookSetting.FALLBACK: "SmsFallbackUrl",
        WebhookSetting.FALLBACK_METHOD: "SmsFallbackMethod",
        WebhookSetting.APPLICATION: "SmsApplicationSid",
    },
    TargetKind.SERVICE: {
        WebhookSetting.URL: "InboundRequestUrl",
        WebhookSetting.METHOD: "InboundMethod",
        WebhookSetting.FALLBACK: "FallbackUrl",
        WebhookSetting.FALLBACK_METHOD: "FallbackMethod",
        WebhookSetting.STATUS: "StatusCallback",
        WebhookSetting.DEFERS: "UseInboundWebhookOnNumber",
    },
    TargetKind.WHATSAPP: {
        WebhookSetting.URL: "callback_url",
        WebhookSetting.METHOD: "callback_method",
        WebhookSetting.FALLBACK: "fallback_url",
        WebhookSetting.FALLBACK_METHOD: "fallback_method",
        WebhookSetting.STATUS: "status_callback_url",
    },
}
"""What Twilio calls each part, when it is changed."""


def address_of(text: str) -> str:
    """Return a number as Twilio writes it: `+15551230001`, with `whatsapp:` before it if it was."""
    channel, separator, number = text.strip().rpartition(":")
    digits = number.translate(_BETWEEN)
    plus = "+" if digits.isascii() and digits.isdigit() and len(digits) > SHORT_CODE else ""
    return f"{channel.lower()}{separator}{plus}{digits}"


def differences(receiver: WebhookTarget, wanted: DesiredConfig) -> tuple[Difference, ...]:
    """Return what has to be changed for messages to a receiver to reach us, and keep reaching us.

    The status callback of a number is for calls, and no part of this.
    """
    expected = {
        WebhookSetting.URL: wanted.url,
        WebhookSetting.METHOD: POST,
        WebhookSetting.APPLICATION: "",
        WebhookSetting.DEFERS: "",
    }
    fallback = wanted.fallback_url or receiver.has(WebhookSetting.FALLBACK) or wanted.url
    expected[WebhookSetting.FALLBACK] = fallback
    if fallback != receiver.has(WebhookSetting.FALLBACK) or fallback == wanted.url:
        expected[WebhookSetting.FALLBACK_METHOD] = POST  # somebody else's is not ours to change
    if wanted.status_callback:
        expected[WebhookSetting.STATUS] = wanted.status_callback
    return tuple(
        Difference(part, receiver.has(part), expected[part])
        for part in PARAMETERS[receiver.kind]
        if part in expected and receiver.has(part) != expected[part]
    )


def changes(kind: TargetKind, found: Sequence[Difference]) -> dict[str, str]:
    """Return the parameters that make the differences go."""
    names = PARAMETERS[kind]
    return {
        names[one.part]: "false" if one.part is WebhookSetting.DEFERS else one.wanted
        for one in found
    }


def leads_here(receiver: WebhookTarget, wanted: DesiredConfig) -> bool:
    """Return whether messages get to the webhook at all, with or without overrides."""
    if receiver.defers or receiver.has(WebhookSetting.APPLICATION) or receiver.decided_by:
        return False
    return receiver.has(WebhookSetting.URL).partition("#")[0] == wanted.url.partition("#")[0]
