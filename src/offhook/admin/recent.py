"""One question to the store for all who look on."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Final, Generic, TypeVar

T = TypeVar("T")

_LASTS: Final = 1.0  # seconds


class Recent(Generic[T]):
    """An answer of the last second: who asks within it, or while it is fetched, gets the same.

    Args:
        ask: fetches it. What it raises, whoever has asked gets, and the next asks again.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, ask: Callable[[], Awaitable[T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._asking = asyncio.Lock()
        self._known: tuple[T, float] | None = None  # until when

    async def get(self) -> T:
        """Return the answer."""
        async with self._asking:
            if self._known is None or self._clock() >= self._known[1]:
                self._known = await self._ask(), self._clock() + _LASTS
            return self._known[0]
