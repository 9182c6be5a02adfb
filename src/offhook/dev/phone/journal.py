"""What has changed on a page, numbered, so that a browser that was away can catch up."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from offhook.concurrency import wait_for_event

KEPT: Final = 5_000

_HEARTBEAT: Final = 15.0  # seconds; a browser that has gone without a word is noticed at a write


class PageChange(NamedTuple):
    """Something that looks different now.

    Attributes:
        kind: `bubble`, `conversation` or `trouble`.
        conversation, bubble: which one; empty where it does not apply.
    """

    kind: str
    conversation: str = ""
    bubble: str = ""


class Position(NamedTuple):
    """How far a browser has read; as text `epoch-number`.

    Attributes:
        epoch: of the process: a new one counts from zero again.
    """

    epoch: str
    number: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Read what a browser sends; of nonsense, a position that nobody knows."""
        epoch, _, number = text.partition("-")
        return cls(epoch, int(number)) if number.isdecimal() and number.isascii() else cls("", 0)

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"


class Journal:
    """A bounded journal of changes, for any number of readers.

    It keeps what has changed, not how it looks: a reader that is slow, or was away, is shown the
    present state once and not each step to it.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._epoch = secrets.token_hex(4)
        self._kept: deque[PageChange] = deque(maxlen=kept)
        self._number = 0
        self._readers: set[asyncio.Event] = set()
        self._closed = False

    @property
    def position(self) -> Position:
        """That of the latest change."""
        return Position(self._epoch, self._number)

    def note(self, change: PageChange) -> None:
        """Write a change down and wake the readers."""
        self._kept.append(change)
        self._number += 1
        self._wake()

    def close(self) -> None:
        """End all reading."""
        self._closed = True
        self._wake()

    def since(self, position: Position) -> tuple[PageChange, ...] | None:
        """Return what has changed since, each once; None when that is not known any more."""
        missed = self._number - position.number
        if position.epoch != self._epoch or not 0 <= missed <= len(self._kept):
            return None
        recent = list(self._kept)[len(self._kept) - missed :]
        return tuple(dict.fromkeys(recent))

    async def follow(
        self, position: Position
    ) -> AsyncIterator[tuple[Position, tuple[PageChange, ...] | None]]:
        """Yield changes as they come, and an empty tuple every 15 s; None when some were missed."""
        awake = asyncio.Event()
        self._readers.add(awake)
        try:
            while not self._closed:
                awake.clear()
                found, position = self.since(position), self.position
                yield position, found
                await wait_for_event(awake, _HEARTBEAT)
        finally:
            self._readers.discard(awake)

    def _wake(self) -> None:
        for reader in self._readers:
            reader.set()
