"""Load in a closed loop (as fast as responses come) or an open loop (at a constant rate)."""

import asyncio
from collections import deque
from collections.abc import Iterator
from time import perf_counter
from typing import Final

from offhook.bench.connection import IDLE_LIMIT, LoadConnection
from offhook.bench.requests import SignedRequest
from offhook.bench.results import Results
from offhook.bench.target import Target
from offhook.bench.timer import Timer
from offhook.concurrency import wait_for_event

_ANSWER_TIMEOUT: Final = 15.0  # seconds, as Twilio's
_SENDS_PER_TURN: Final = 8  # more at once would keep the event loop from reading responses


class Load:
    """Send requests to one server over a fixed number of connections.

    Args:
        target: the server.
        requests: an endless iterator.
        results: counts the responses; its clock runs while a loop does.
        connections: the number of connections, and so of requests in flight at most.
        fresh: make a new connection for each request.
        stale: seconds after which an idle connection is replaced.
    """

    def __init__(
        self,
        target: Target,
        requests: Iterator[SignedRequest],
        results: Results,
        *,
        connections: int,
        fresh: bool = False,
        stale: float = IDLE_LIMIT,
    ) -> None:
        self._requests = requests
        self._results = results
        self._connections = [
            LoadConnection(target, results, self._freed, fresh=fresh, stale=stale)
            for _ in range(connections)
        ]
        self._idle: deque[LoadConnection] = deque(self._connections)
        self._waiting: deque[tuple[float, SignedRequest]] = deque()
        self._until = (
            0.0  # end of the closed loop: until then, a free connection sends the next request
        )
        self._all_idle = asyncio.Event()

    async def open_connections(self, at_once: int = 64) -> None:
        """Open all connections, `at_once` at a time.

        Raises:
            OSError: the server refused one.
        """
        for start in range(0, len(self._connections), at_once):
            some = self._connections[start : start + at_once]
            await asyncio.gather(*(one.open() for one in some))

    async def probe(self) -> None:
        """Check that the server accepts connections.

        Raises:
            OSError: it does not.
        """
        await self.open_connections()
        await self._close()

    async def closed(self, seconds: float, stop: asyncio.Event | None = None) -> None:
        """Run a closed loop: each connection sends its next request when the last is answered."""
        self._results.begin()
        self._until = perf_counter() + seconds
        for _ in range(len(self._idle)):
            self._idle.popleft().send(next(self._requests), perf_counter())
        await _sleep(seconds, stop)
        self._until = 0.0
        await self._end(stop)

    async def open(self, rate: float, seconds: float, stop: asyncio.Event | None = None) -> None:
        """Run an open loop: send `rate` requests a second, whether the server keeps up or not.

        A request that finds no free connection waits for one. Its latency counts from the time it
        was due, so that a stalled server shows (no coordinated omission).
        """
        self._results.begin()
        timer = Timer()
        try:
            await self._fire(timer, rate, seconds, stop)
        finally:
            timer.close()
        await self._end(stop)

    async def _fire(
        self, timer: Timer, rate: float, seconds: float, stop: asyncio.Event | None
    ) -> None:
        began = perf_counter()
        for number in range(round(rate * seconds)):
            due = began + number / rate
            if number % _SENDS_PER_TURN == 0:
                await asyncio.sleep(0)
            await timer.at(due)
            if stop is not None and stop.is_set():
                break
            self._results.late.record(perf_counter() - due)
            if self._idle:
                # Least recently used first, so that no connection goes stale.
                self._idle.popleft().send(next(self._requests), due)
            else:
                self._waiting.append((due, next(self._requests)))

    def _freed(self, connection: LoadConnection) -> None:
        if self._waiting:
            due, request = self._waiting.popleft()
            connection.send(request, due)
        elif (now := perf_counter()) < self._until:
            connection.send(next(self._requests), now)
        else:
            self._idle.append(connection)
            if len(self._idle) == len(self._connections):
                self._all_idle.set()

    async def _end(self, stop: asyncio.Event | None) -> None:
        """Wait for outstanding responses, then count those still missing as unanswered."""
        if len(self._idle) < len(self._connections):
            self._all_idle.clear()
            interrupted = stop is not None and stop.is_set()
            await wait_for_event(self._all_idle, 1.0 if interrupted else _ANSWER_TIMEOUT)
        now = perf_counter()
        self._results.end()
        for due, request in self._waiting:
            self._results.abandon(request, now - due)
        self._waiting.clear()
        self._idle = deque(self._connections)
        await self._close()

    async def _close(self) -> None:
        for connection in self._connections:
            connection.close()
        await asyncio.sleep(0)  # transports close in the loop's next iteration


async def _sleep(seconds: float, stop: asyncio.Event | None) -> None:
    if stop is None:
        await asyncio.sleep(seconds)
        return
    await wait_for_event(stop, seconds)
