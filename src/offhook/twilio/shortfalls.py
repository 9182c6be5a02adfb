"""Replies that reached nobody, one sentence for each cause: a limit of Twilio's is one finding."""

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from offhook.core.lifecycle import SendState
from offhook.stores.api import MOST_COUNTED, Counts
from offhook.twilio.error_codes import meaning_of

_WORDS: Final[Mapping[SendState, tuple[str, str]]] = MappingProxyType(
    {
        SendState.PENDING: ("1 person waits for a reply", "{} people wait for replies"),
        SendState.FAILED: ("1 reply was refused by Twilio", "{} replies were refused by Twilio"),
        SendState.UNDELIVERED: ("1 reply was not delivered", "{} replies were not delivered"),
    }
)
_WITHOUT_CODE: Final[Mapping[SendState, str]] = MappingProxyType(
    {
        SendState.PENDING: "They could not be sent so far: their errors say why.",
        SendState.FAILED: "Their errors say why.",
        SendState.UNDELIVERED: "Twilio gave no reason.",
    }
)


@dataclass(frozen=True, slots=True)
class Shortfall:
    """Replies that reached nobody for the same reason.

    Attributes:
        state: pending (although they were tried), failed or undelivered.
        code: Twilio's error code; empty for none.
        number: of the replies; of pending ones, of the people who wait for them.
    """

    state: SendState
    code: str
    number: int

    @property
    def text(self) -> str:
        """Return a sentence on them, without its full stop."""
        one, many = _WORDS[self.state]
        amount = f"{self.number:,}" + (" or more" if self.number >= MOST_COUNTED else "")
        words = one if self.number == 1 else many.format(amount)
        return f"{words} (error {self.code})" if self.code else words

    @property
    def meaning(self) -> str:
        """Return what the reason is, and what to do."""
        return meaning_of(self.code) or _WITHOUT_CODE[self.state]

    @property
    def options(self) -> str:
        """Return the options of `offhook sends` that choose them."""
        code = f" --code {self.code}" if self.code else ""
        return f"--state {self.state}{code}"


def shortfalls(counts: Counts) -> list[Shortfall]:
    """Return why replies reached nobody, the most frequent reasons first."""
    found = [Shortfall(state, code, number) for (state, code), number in counts.shortfalls.items()]
    return sorted(found, key=lambda one: -one.number)
