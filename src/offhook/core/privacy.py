"""Remove a message's content, and list the addresses of a person."""

import re
from typing import Final

from offhook.core.addresses import folded

# They identify a webhook and its conversation, and hold no text. `send` is the ledger's id in our
# own status callbacks.
_ESSENTIAL: Final = frozenset(
    {
        b"AccountSid", b"MessageSid", b"SmsMessageSid", b"SmsSid", b"MessagingServiceSid",
        b"From", b"ExternalUserId", b"WaId", b"To", b"MessageStatus", b"SmsStatus", b"ErrorCode",
        b"NumMedia", b"NumSegments", b"ApiVersion", b"send",
    }
)  # fmt: skip

# Channels whose addresses are telephone numbers with the channel in front:
# https://www.twilio.com/docs/messaging/channels
_CHANNELS: Final = ("whatsapp", "rcs")

# Rows of earlier versions have the prefix as received; today's have it in lower case.
_FORMERLY: Final = ("WHATSAPP", "WhatsApp", "Whatsapp", "RCS", "Rcs")

_PUNCTUATION: Final = re.compile(r"[\s().-]+")
_NUMBER: Final = re.compile(r"\+?\d+")


def essentials(form: bytes) -> bytes:
    """Return a form with only the fields that identify the message, which are unchanged."""
    fields = form.split(b"&")
    return b"&".join(field for field in fields if field.partition(b"=")[0] in _ESSENTIAL)


def spellings(address: str) -> tuple[str, ...]:
    """Return all addresses of a person: a number is the same in every channel.

    Args:
        address: `+15551230001`, with or without spaces and dashes, `whatsapp:+15551230001`, or an
            address of another channel, which is returned alone.
    """
    address = address.strip()
    channel, _, rest = address.rpartition(":")
    number = _PUNCTUATION.sub("", rest)
    if channel.lower() not in {"", *_CHANNELS} or not _NUMBER.fullmatch(number):
        return tuple(dict.fromkeys((folded(address), address)))
    return (number, *(f"{name}:{number}" for name in (*_CHANNELS, *_FORMERLY)))
