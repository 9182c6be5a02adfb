"""One client in many parts, so that none has many connections to look through."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx2

CLIENTS: Final = 16
"""Twice a request, a client's pool looks at each of its connections, and asks the kernel about
those that are idle: with 100 of them a third of what a send cost
(docs/decisions/0016-the-cold-path.md)."""


class Clients:
    """Shares requests out among clients of the same making, each with a pool of its own.

    Args:
        make: makes a client.
        count: how many there are.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncClient], *, count: int = CLIENTS) -> None:
        self._clients = [make() for _ in range(count)]
        self._busy = [0] * count

    @contextmanager
    def least_busy(self) -> Iterator[httpx2.AsyncClient]:
        """Yield the client with the fewest requests under way, the first of several.

        So one request at a time always meets the connection that the one before has left.
        """
        number = self._busy.index(min(self._busy))
        self._busy[number] += 1
        try:
            yield self._clients[number]
        finally:
            self._busy[number] -= 1

    async def close(self) -> None:
        """Let go of all connections."""
        for client in self._clients:
            await client.aclose()
