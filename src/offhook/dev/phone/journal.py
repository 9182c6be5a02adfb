"""A numbered journal of changes to the page, from which a reconnecting browser catches up."""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator
from typing import Final, NamedTuple

from offhook.concurrency import wait_for_event

KEPT: Final = 5_000

_HEARTBEAT: Final = 15.0  # seconds; a dropped connection is only detected by a write


class PageChange(NamedTuple):
    """A part of the page to redraw.

    Attributes:
        kind: `bubble`, `conversation`, `trouble`; or `progress`: some messages were stored, or the
            handler of one has begun.
        conversation, bubble: their ids; empty where they do not apply.
    """

    kind: str
    conversation: str = ""
    bubble: str = ""


class Position(NamedTuple):
    """A browser's position in the journal; as text `epoch-number`.

    Attributes:
        epoch: identifies the process, each of which counts from zero.
    """

    epoch: str
    number: int

    @classmethod
    def parse(cls, text: str) -> "Position":
        """Parse a browser's position; a malformed one becomes an unknown position."""
        epoch, _, number = text.partition("-")
        return cls(epoch, int(number)) if number.isdecimal() and number.isascii() else cls("", 0)

    def __str__(self) -> str:
        return f"{self.epoch}-{self.number}"


class Journal:
    """A bounded journal of changes, for any number of readers.

    It records what has changed, not its content: a slow or reconnecting reader gets the current
    state once instead of every intermediate one.
    """

    def __init__(self, kept: int = KEPT) -> None:
        self._epoch = secrets.token_hex(4)
        self._kept: deque[PageChange] = deque(maxlen=kept)
        self._number = 0
        self._readers: set[asyncio.Event] = set()
        self._closed = False

    @property
    def position(self) -> Position:
        """The position of the latest change."""
        return Position(self._epoch, self._number)

    def note(self, change: PageChange) -> None:
        """Record a change and wake the readers."""
        self._kept.append(change)
        self._number += 1
        self._wake()

    def close(self) -> None:
        """End all reading."""
        self._closed = True
        self._wake()

    def since(self, position: Position) -> tuple[PageChange, ...] | None:
        """Return the changes since a position, each once; None if they are no longer kept."""
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
