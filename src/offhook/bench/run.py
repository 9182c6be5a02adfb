"""The phases of `offhook bench`: the generator's ceiling, warm-up, the maximum, half of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from offhook.bench.ceiling import NEAR_CEILING, ceiling
from offhook.bench.load import Load
from offhook.bench.requests import Mix, RequestSource
from offhook.bench.results import Results
from offhook.bench.target import Target
from offhook.errors import ConfigurationError

_MAX_PREPARED: Final = 200_000  # requests made in advance: 200 MB
_HEADROOM: Final = 1.3  # requests prepared for the maximum, against what the warm-up reached


@dataclass(frozen=True, slots=True)
class BenchOptions:
    """The options of a run; times in seconds.

    Attributes:
        rate: requests a second in the open loop; None for half of the maximum.
        closed: find the maximum only.
        fresh: make a new connection for each request.
    """

    target: Target
    account_sid: str
    auth_token: str
    mix: Mix = field(default_factory=Mix)
    connections: int = 64
    conversations: int = 1000
    fresh: bool = False
    seconds: float = 10.0
    warm_up: float = 2.0
    rate: float | None = None
    closed: bool = False
    ceiling: bool = True


@dataclass(frozen=True, slots=True)
class Phase:
    """A measured part of the run.

    Attributes:
        name: closed loop or open loop.
        seconds: the intended duration.
        offered: requests a second in the open loop; None in the closed loop.
    """

    name: str
    seconds: float
    offered: float | None
    results: Results


class BenchRun:
    """Run a benchmark.

    Args:
        options: the options.
        stop: ends the run early when set; results so far are kept.

    Attributes:
        activity: the current step, for display.
        ceiling: the generator's own maximum of requests a second, if measured.
        phases: the results so far; the last phase may still be running.
    """

    def __init__(self, options: BenchOptions, stop: asyncio.Event) -> None:
        self.options = options
        self.activity = ""
        self.ceiling: float | None = None
        self.phases: list[Phase] = []
        self._stop = stop
        self._requests = RequestSource(
            options.target,
            account_sid=options.account_sid,
            auth_token=options.auth_token,
            mix=options.mix,
            conversations=options.conversations,
            close=options.fresh,
        )

    async def run(self) -> None:
        """Run all phases.

        Raises:
            OSError: the server can't be reached.
            ConfigurationError: the generator's ceiling can't be measured.
        """
        await self._load(Results(), connections=1).probe()
        options = self.options
        if options.ceiling:
            self.activity = "measuring the generator itself"
            self.ceiling = await self._ceiling()
        expected = await self._warm_up()
        rate = options.rate
        if (rate is None or options.closed) and not self._stop.is_set():
            rate = await self._closed(expected) / 2
        if rate and not options.closed and not self._stop.is_set():
            await self._open(rate)

    async def _ceiling(self) -> float | None:
        options = self.options
        try:
            return await ceiling(
                options.target,
                connections=options.connections,
                fresh=options.fresh,
                stop=self._stop,
            )
        except ConfigurationError:
            if self._stop.is_set():
                return None  # Ctrl-C reached the empty server before it had its own session
            raise

    async def _warm_up(self) -> float:
        self.activity = "warming up"
        results = Results()
        if not self.options.warm_up:
            return 0.0
        if self.options.rate is None:
            await self._load(results).closed(self.options.warm_up, self._stop)
        else:  # a given rate is not exceeded: more may be too much for the server
            await self._load(results).open(self.options.rate, self.options.warm_up, self._stop)
        return results.rate

    async def _closed(self, expected: float) -> float:
        self._prepare(expected * _HEADROOM)
        results = Results()
        self.phases.append(Phase("closed loop", self.options.seconds, None, results))
        self.activity = "closed loop"
        await self._load(results).closed(self.options.seconds, self._stop)
        return results.rate

    async def _open(self, rate: float) -> None:
        self._prepare(rate)
        results = Results()
        self.phases.append(Phase("open loop", self.options.seconds, rate, results))
        self.activity = f"open loop, {rate:,.0f}/s"
        await self._load(results).open(rate, self.options.seconds, self._stop)

    def _prepare(self, rate: float) -> None:
        self.activity = "making requests"
        self._requests.prepare(min(_MAX_PREPARED, int(rate * self.options.seconds)))

    def _load(self, results: Results, *, connections: int | None = None) -> Load:
        options = self.options
        count = options.connections if connections is None else connections
        return Load(options.target, self._requests, results, connections=count, fresh=options.fresh)

    @property
    def interrupted(self) -> bool:
        """Whether the run was stopped early."""
        return self._stop.is_set()

    def is_near_ceiling(self, phase: Phase) -> bool:
        """Return whether a phase came so close to the ceiling that the generator limited it."""
        return self.ceiling is not None and phase.results.rate > NEAR_CEILING * self.ceiling

    def as_object(self) -> dict[str, Any]:
        """Return the results for scripts; times in seconds, rates a second."""
        return {
            "url": self.options.target.url,
            "connections": self.options.connections,
            "fresh_connections": self.options.fresh,
            "ceiling": None if self.ceiling is None else round(self.ceiling, 1),
            "interrupted": self.interrupted,
            "phases": [
                {
                    "name": phase.name,
                    "offered": None if phase.offered is None else round(phase.offered, 1),
                    "near_ceiling": self.is_near_ceiling(phase),
                    **phase.results.as_object(),
                }
                for phase in self.phases
            ],
        }
