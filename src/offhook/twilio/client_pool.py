"""Spread requests over several HTTP clients, each with a small connection pool."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

import httpx2

CLIENTS: Final = 16
"""Twice a request, a client's pool checks each of its connections, with a system call for the idle
ones: with 100 of them a third of the cost of a send
(docs/decisions/0016-the-cold-path.md)."""


class Clients:
    """Distributes requests among equal clients, each with a pool of its own.

    Args:
        make: makes a client.
        count: the number of clients.
    """

    def __init__(self, make: Callable[[], httpx2.AsyncClient], *, count: int = CLIENTS) -> None:
        self._clients = [make() for _ in range(count)]
        self._busy = [0] * count

    @contextmanager
    def least_busy(self) -> Iterator[httpx2.AsyncClient]:
        """Yield the client with the fewest running requests, the first of several.

        So sequential requests always reuse the same connection.
        """
        number = self._busy.index(min(self._busy))
        self._busy[number] += 1
        try:
            yield self._clients[number]
        finally:
            self._busy[number] -= 1

    async def close(self) -> None:
        """Close all connections."""
        for client in self._clients:
            await client.aclose()
