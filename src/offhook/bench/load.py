"""The two ways to press: as fast as answers come, or at a constant rate whatever comes."""

import asyncio
from collections import deque
from collections.abc import Iterator
from contextlib import suppress
from time import perf_counter
from typing import Final

from offhook.bench.connection import STALE, Connection
from offhook.bench.requests import Shot
from offhook.bench.results import Tally
from offhook.bench.target import Target
from offhook.bench.timer import Alarm

_PATIENCE: Final = 15.0  # seconds: as long as Twilio waits for an answer
_TURN: Final = 8  # requests sent in one turn of the loop at most, or no answer would be read


class Load:
    """A load on one server, over so many connections.

    Args:
        target: the server.
        supply: of requests, without an end.
        tally: is told what came back; its clock runs while a loop does.
        connections: so many requests are under way at once, at most.
        fresh: make a new connection for each request.
        stale: a connection that has idled for so many seconds is made anew.
    """

    def __init__(
        self,
        target: Target,
        supply: Iterator[Shot],
        tally: Tally,
        *,
        connections: int,
        fresh: bool = False,
        stale: float = STALE,
    ) -> None:
        self._supply = supply
        self._tally = tally
        self._connections = [
            Connection(target, tally, self._freed, fresh=fresh, stale=stale)
            for _ in range(connections)
        ]
        self._idle: deque[Connection] = deque(self._connections)
        self._waiting: deque[tuple[float, Shot]] = deque()
        self._until = 0.0  # a freed connection takes the next request, in the closed loop
        self._quiet = asyncio.Event()

    async def open_connections(self, at_once: int = 64) -> None:
        """Connect all, so many at once, before the first request.

        Raises:
            OSError: the server does not take them.
        """
        for start in range(0, len(self._connections), at_once):
            some = self._connections[start : start + at_once]
            await asyncio.gather(*(one.open() for one in some))

    async def probe(self) -> None:
        """Connect, and disconnect.

        Raises:
            OSError: the server does not take connections.
        """
        await self.open_connections()
        await self._close()

    async def closed(self, seconds: float, stop: asyncio.Event | None = None) -> None:
        """Let each connection send its next request when the last is answered."""
        self._tally.begin()
        self._until = perf_counter() + seconds
        for _ in range(len(self._idle)):
            self._idle.popleft().send(next(self._supply), perf_counter())
        await _sleep(seconds, stop)
        self._until = 0.0
        await self._end(stop)

    async def open(self, rate: float, seconds: float, stop: asyncio.Event | None = None) -> None:
        """Send so many requests a second, each at its moment, whether the server keeps up or not.

        A request that finds no free connection waits for one, and its time counts from the moment
        it was due: a server that stalls can't hide it.
        """
        self._tally.begin()
        alarm = Alarm()
        try:
            await self._fire(alarm, rate, seconds, stop)
        finally:
            alarm.close()
        await self._end(stop)

    async def _fire(
        self, alarm: Alarm, rate: float, seconds: float, stop: asyncio.Event | None
    ) -> None:
        began = perf_counter()
        for number in range(round(rate * seconds)):
            due = began + number / rate
            if number % _TURN == 0:
                await asyncio.sleep(0)
            await alarm.at(due)
            if stop is not None and stop.is_set():
                break
            self._tally.late.record(perf_counter() - due)
            if self._idle:
                # The one that has idled longest: all are used, and none goes stale.
                self._idle.popleft().send(next(self._supply), due)
            else:
                self._waiting.append((due, next(self._supply)))

    def _freed(self, connection: Connection) -> None:
        if self._waiting:
            due, shot = self._waiting.popleft()
            connection.send(shot, due)
        elif (now := perf_counter()) < self._until:
            connection.send(next(self._supply), now)
        else:
            self._idle.append(connection)
            if len(self._idle) == len(self._connections):
                self._quiet.set()

    async def _end(self, stop: asyncio.Event | None) -> None:
        """Wait for the answers that are still due; after that they are counted as missing."""
        if len(self._idle) < len(self._connections):
            self._quiet.clear()
            with suppress(TimeoutError):
                hurried = stop is not None and stop.is_set()
                await asyncio.wait_for(self._quiet.wait(), 1.0 if hurried else _PATIENCE)
        now = perf_counter()
        self._tally.end()
        for due, shot in self._waiting:
            self._tally.abandon(shot, now - due)
        self._waiting.clear()
        self._idle = deque(self._connections)
        await self._close()

    async def _close(self) -> None:
        for connection in self._connections:
            connection.close()
        await asyncio.sleep(0)  # transports close in the loop's next turn


async def _sleep(seconds: float, stop: asyncio.Event | None) -> None:
    if stop is None:
        await asyncio.sleep(seconds)
        return
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
