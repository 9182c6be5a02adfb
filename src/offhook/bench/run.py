"""What `offhook bench` does, in order: its own ceiling, a warm-up, the maximum, and half of it."""

import asyncio
from dataclasses import dataclass, field
from typing import Any, Final

from offhook.bench.ceiling import NEAR, ceiling
from offhook.bench.load import Load
from offhook.bench.requests import Mix, Supply
from offhook.bench.results import Tally
from offhook.bench.target import Target
from offhook.errors import ConfigurationError

_MOST: Final = 200_000  # requests made beforehand: 200 MB
_SPARE: Final = 1.3  # the maximum may be so many times what the warm-up reached


@dataclass(frozen=True, slots=True)
class Plan:
    """What is asked for; times in seconds.

    Attributes:
        rate: requests a second, in the open loop; half of the maximum if none.
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
    """A part of the course, and what was measured in it.

    Attributes:
        name: of the loop.
        seconds: it is to take.
        offered: requests a second that were due; none in the closed loop.
    """

    name: str
    seconds: float
    offered: float | None
    tally: Tally


class Course:
    """A run through the plan.

    Args:
        plan: what to do.
        stop: ends it early when set; what was measured until then stays.

    Attributes:
        doing: what is under way, in words.
        ceiling: requests a second that the generator can send, if it was asked for.
        phases: what was measured so far; the last may be under way.
    """

    def __init__(self, plan: Plan, stop: asyncio.Event) -> None:
        self.plan = plan
        self.doing = ""
        self.ceiling: float | None = None
        self.phases: list[Phase] = []
        self._stop = stop
        self._supply = Supply(
            plan.target,
            account_sid=plan.account_sid,
            auth_token=plan.auth_token,
            mix=plan.mix,
            conversations=plan.conversations,
            close=plan.fresh,
        )

    async def run(self) -> None:
        """Go through it.

        Raises:
            OSError: the server can't be reached.
            ConfigurationError: something that is needed on this machine is missing.
        """
        await self._load(Tally(), connections=1).probe()
        plan = self.plan
        if plan.ceiling:
            self.doing = "measuring the generator itself"
            self.ceiling = await self._ceiling()
        expected = await self._warm_up()
        rate = plan.rate
        if (rate is None or plan.closed) and not self._stop.is_set():
            rate = await self._closed(expected) / 2
        if rate and not plan.closed and not self._stop.is_set():
            await self._open(rate)

    async def _ceiling(self) -> float | None:
        plan = self.plan
        try:
            return await ceiling(
                plan.target, connections=plan.connections, fresh=plan.fresh, stop=self._stop
            )
        except ConfigurationError:
            if self._stop.is_set():
                return None  # Ctrl-C found the empty server before it had a session of its own
            raise

    async def _warm_up(self) -> float:
        self.doing = "warming up"
        tally = Tally()
        if not self.plan.warm_up:
            return 0.0
        if self.plan.rate is None:
            await self._load(tally).closed(self.plan.warm_up, self._stop)
        else:  # who names a rate may mean that more would be too much
            await self._load(tally).open(self.plan.rate, self.plan.warm_up, self._stop)
        return tally.rate

    async def _closed(self, expected: float) -> float:
        self._prepare(expected * _SPARE)
        tally = Tally()
        self.phases.append(Phase("closed loop", self.plan.seconds, None, tally))
        self.doing = "closed loop"
        await self._load(tally).closed(self.plan.seconds, self._stop)
        return tally.rate

    async def _open(self, rate: float) -> None:
        self._prepare(rate)
        tally = Tally()
        self.phases.append(Phase("open loop", self.plan.seconds, rate, tally))
        self.doing = f"open loop, {rate:,.0f}/s"
        await self._load(tally).open(rate, self.plan.seconds, self._stop)

    def _prepare(self, rate: float) -> None:
        self.doing = "making requests"
        self._supply.prepare(min(_MOST, int(rate * self.plan.seconds)))

    def _load(self, tally: Tally, *, connections: int | None = None) -> Load:
        plan = self.plan
        count = plan.connections if connections is None else connections
        return Load(plan.target, self._supply, tally, connections=count, fresh=plan.fresh)

    @property
    def interrupted(self) -> bool:
        """Whether it was ended early."""
        return self._stop.is_set()

    def is_near_ceiling(self, phase: Phase) -> bool:
        """Return whether a phase tells of the generator as much as of the server."""
        return self.ceiling is not None and phase.tally.rate > NEAR * self.ceiling

    def as_object(self) -> dict[str, Any]:
        """Return all of it for scripts; times in seconds, rates a second."""
        return {
            "url": self.plan.target.url,
            "connections": self.plan.connections,
            "fresh_connections": self.plan.fresh,
            "ceiling": None if self.ceiling is None else round(self.ceiling, 1),
            "interrupted": self.interrupted,
            "phases": [
                {
                    "name": phase.name,
                    "offered": None if phase.offered is None else round(phase.offered, 1),
                    "near_ceiling": self.is_near_ceiling(phase),
                    **phase.tally.as_object(),
                }
                for phase in self.phases
            ],
        }
