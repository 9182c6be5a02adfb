"""The webhook configuration of numbers, services and senders, compared with the desired one."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple


class TargetKind(StrEnum):
    """The kinds of Twilio resources that receive messages."""

    NUMBER = "number"
    SERVICE = "service"  # a Messaging Service, with numbers in its sender pool
    WHATSAPP = "whatsapp"  # a number as a WhatsApp sender


class WebhookSetting(StrEnum):
    """The settings of a resource's webhooks."""

    URL = "webhook"
    METHOD = "method"
    FALLBACK = "fallback"
    FALLBACK_METHOD = "fallback method"
    STATUS = "status callback"
    APPLICATION = "application"  # a TwiML application's webhook takes precedence over the number's
    DEFERS = "leaves it to its numbers"


@dataclass(frozen=True, slots=True)
class WebhookTarget:
    """A number, Messaging Service or WhatsApp sender, as configured at Twilio.

    Attributes:
        address: the number, or the service's SID.
        now: the current settings; unset ones are empty or missing.
        decided_by: the Messaging Service whose webhook takes precedence over this number's.
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
        """Return the current value of a setting; empty if unset."""
        return (self.now or {}).get(part, "")

    @property
    def defers(self) -> bool:
        """Whether it is a Messaging Service that leaves messages to its numbers' webhooks."""
        return bool(self.has(WebhookSetting.DEFERS))


class DesiredConfig(NamedTuple):
    """The desired configuration.

    Attributes:
        url: the webhook, with its connection overrides.
        fallback_url: requested after the webhook has failed. If empty, the current one is kept, or
            the webhook itself is set where there is none: Twilio then tries it once more.
        status_callback: for messages sent by others; empty to leave it. Our sends set their own.
    """

    url: str
    fallback_url: str = ""
    status_callback: str = ""


class Difference(NamedTuple):
    """One setting that differs from the desired value."""

    part: WebhookSetting
    now: str
    wanted: str


POST: Final = "POST"

SHORT_CODE: Final = 6
"""Digits of a short code at most; they have no plus."""

# Separators that people write between digits.
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
"""Twilio's names of the settings in an update."""


def address_of(text: str) -> str:
    """Return a number as Twilio writes it: `+15551230001`, with `whatsapp:` before it if it was."""
    channel, separator, number = text.strip().rpartition(":")
    digits = number.translate(_BETWEEN)
    plus = "+" if digits.isascii() and digits.isdigit() and len(digits) > SHORT_CODE else ""
    return f"{channel.lower()}{separator}{plus}{digits}"


def differences(receiver: WebhookTarget, wanted: DesiredConfig) -> tuple[Difference, ...]:
    """Return the settings to change so that messages to a target are posted to our webhook.

    The status callback of a number is for calls, and is ignored.
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
        expected[WebhookSetting.FALLBACK_METHOD] = POST  # another server's is left alone
    if wanted.status_callback:
        expected[WebhookSetting.STATUS] = wanted.status_callback
    return tuple(
        Difference(part, receiver.has(part), expected[part])
        for part in PARAMETERS[receiver.kind]
        if part in expected and receiver.has(part) != expected[part]
    )


def changes(kind: TargetKind, found: Sequence[Difference]) -> dict[str, str]:
    """Return the parameters of the update that removes the differences."""
    names = PARAMETERS[kind]
    return {
        names[one.part]: "false" if one.part is WebhookSetting.DEFERS else one.wanted
        for one in found
    }


def leads_here(receiver: WebhookTarget, wanted: DesiredConfig) -> bool:
    """Return whether messages reach the webhook, with or without overrides."""
    if receiver.defers or receiver.has(WebhookSetting.APPLICATION) or receiver.decided_by:
        return False
    return receiver.has(WebhookSetting.URL).partition("#")[0] == wanted.url.partition("#")[0]
