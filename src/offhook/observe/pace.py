"""How often the same thing is told: a flood of requests must not become one of the log."""

import time
from collections.abc import Callable
from typing import Final

LINES: Final = 10
"""Lines a second of refusals of one name. 100,000 forged requests a minute would be 25 MB."""

_SECOND: Final = 1.0


class Pace:
    """Lets `LINES` a second of each name through, and counts the others.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since: dict[str, float] = {}  # of a handful of names
        self._told: dict[str, int] = {}

    def admit(self, name: str) -> int | None:
        """Return how many of this name were not told before this one; None when it is not told."""
        now = self._clock()
        untold = 0
        if now - self._since.get(name, now) >= _SECOND:
            untold = max(0, self._told[name] - LINES)
            self._told[name] = 0
            self._since[name] = now
        self._since.setdefault(name, now)
        self._told[name] = self._told.get(name, 0) + 1
        return untold if self._told[name] <= LINES else None
