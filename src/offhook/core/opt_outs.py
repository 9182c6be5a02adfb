"""Which messages Twilio treats as STOP, START or HELP."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self

from offhook.core.addresses import channel_of

WORDS: Final = ("STOP", "STOPALL", "UNSUBSCRIBE", "CANCEL", "END", "QUIT", "REVOKE", "OPTOUT")
"""Twilio's default words: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out"""

_ALWAYS: Final = frozenset({"STOP"})  # no account can remove it
_SERVICE: Final = re.compile(r"MG[0-9a-fA-F]{32}")

# They share opt-outs: https://www.twilio.com/en-us/changelog, 2026-03-15. MMS is `sms` here.
_CHANNELS: Final = frozenset({"sms", "rcs"})


@dataclass(frozen=True, slots=True)
class OptOuts:
    """The words that opt out, for messages that Twilio sends without `OptOutType`.

    Attributes:
        words: matched against the whole message, in any case.
        services: Messaging Services with Advanced Opt-Out, for which Twilio sends `OptOutType`; of
            the words, only STOP counts there.
    """

    words: frozenset[str] = frozenset(WORDS)
    services: frozenset[str] = frozenset()

    @classmethod
    def of(cls, listed: Iterable[str]) -> Self:
        """Parse a list of words and Messaging Service SIDs; without words, Twilio's apply."""
        given = frozenset(listed)
        services = frozenset(one for one in given if _SERVICE.fullmatch(one))
        words = frozenset(one.upper() for one in given - services)
        if services and not words:
            words = frozenset(WORDS)
        return cls(words | _ALWAYS, services)

    def kind(self, raw: Mapping[str, str]) -> str:
        """Return `STOP`, `START` or `HELP` when Twilio treats a message as such, else an empty str.

        `OptOutType` is sent with Advanced Opt-Out only. Without it, a message that equals one of
        the words is a STOP too: Twilio then blocks further messages (error 21610).
        """
        if kind := raw.get("OptOutType", ""):
            return kind.upper()
        if channel_of(raw.get("From", "")) not in _CHANNELS:
            return ""
        words = _ALWAYS if raw.get("MessagingServiceSid", "") in self.services else self.words
        return "STOP" if raw.get("Body", "").strip().upper() in words else ""


TWILIO_WORDS: Final = OptOuts()
"""With Twilio's default words."""
