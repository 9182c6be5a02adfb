"""What is left of a message whose text is not kept, and under which addresses a person writes."""

import re
from typing import Final

from offhook.core.addresses import folded

# They name a webhook, say where it belongs, and hold nothing that anybody wrote. `send` is the
# ledger's number in our own status callbacks.
_ESSENTIAL: Final = frozenset(
    {
        b"AccountSid", b"MessageSid", b"SmsMessageSid", b"SmsSid", b"MessagingServiceSid",
        b"From", b"To", b"MessageStatus", b"SmsStatus", b"ErrorCode", b"NumMedia", b"NumSegments",
        b"ApiVersion", b"send",
    }
)  # fmt: skip

# Channels whose addresses are telephone numbers with the channel in front:
# https://www.twilio.com/docs/messaging/channels
_CHANNELS: Final = ("whatsapp", "rcs")

# Rows of earlier versions have the prefix as it came; those of today have it in lower case.
_FORMERLY: Final = ("WHATSAPP", "WhatsApp", "Whatsapp", "RCS", "Rcs")

_PUNCTUATION: Final = re.compile(r"[\s().-]+")
_NUMBER: Final = re.compile(r"\+?\d+")


def essentials(form: bytes) -> bytes:
    """Return a form with the fields alone that name the message. Those kept are not changed."""
    fields = form.split(b"&")
    return b"&".join(field for field in fields if field.partition(b"=")[0] in _ESSENTIAL)


def spellings(address: str) -> tuple[str, ...]:
    """Return all addresses of the person with this one: a number is the same in every channel.

    Args:
        address: `+15551230001`, with blanks and dashes or without, `whatsapp:+15551230001`, or
            another channel's, whose addresses are no numbers and stand for themselves.
    """
    address = address.strip()
    channel, _, rest = address.rpartition(":")
    number = _PUNCTUATION.sub("", rest)
    if channel.lower() not in {"", *_CHANNELS} or not _NUMBER.fullmatch(number):
        return tuple(dict.fromkeys((folded(address), address)))
    return (number, *(f"{name}:{number}" for name in (*_CHANNELS, *_FORMERLY)))
