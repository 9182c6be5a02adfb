"""Kills processes at the moments of the plan, and notes which runs were under way."""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from tests.crash.accounts import Accounts
from tests.crash.fleet import Fleet, Victim
from tests.crash.plan import Blow, Target

_LONGEST = 60.0  # seconds for a look into the store
_YOUNG = 0.2  # the share of workers that are killed whether they have begun a run or not
_MATURE = 10.0  # seconds in which the others may begin one
_PAUSE = 0.05
_TOLD_EVERY = 10  # kills
_INTO_THE_RUSH = 0.15  # seconds; by then most of it has been answered


@dataclass(frozen=True, slots=True)
class Kill:
    """A kill that happened.

    Attributes:
        moment: seconds since the load began.
        pids: the processes that died.
        running: the messages of which a run was under way, on whichever worker.
    """

    moment: float
    target: Target
    pids: frozenset[int]
    running: frozenset[str] = frozenset()


class Killer:
    """Kills, and waits each time until the process has been replaced.

    Args:
        rush: called before each kill; makes people write.
        has_run: says whether any of some processes has begun a run.
        check: called after each kill, and again when something else is in the place of what died.
        tell: called now and then with how far it has come.
    """

    def __init__(
        self,
        fleet: Fleet,
        accounts: Accounts,
        rng: random.Random,
        *,
        rush: Callable[[], None],
        has_run: Callable[[Sequence[int]], bool],
        check: Callable[[], Awaitable[None]],
        tell: Callable[[str], None],
    ) -> None:
        self.kills: list[Kill] = []
        self._fleet = fleet
        self._accounts = accounts
        self._rng = rng
        self._rush = rush
        self._has_run = has_run
        self._check = check
        self._tell = tell

    async def work(self, blows: Sequence[Blow]) -> None:
        """Strike all blows; one that would fall before the last is mended falls then."""
        began = time.monotonic()
        for blow in blows:
            await asyncio.sleep(max(0.0, began + blow.after - time.monotonic()))
            await self._strike(blow.target, began)
            if len(self.kills) % _TOLD_EVERY == 0:
                seconds = time.monotonic() - began
                self._tell(f"{len(self.kills)} of {len(blows)} kills, {seconds:.0f} s")

    async def _strike(self, target: Target, began: float) -> None:
        victim = self._rng.choice(await asyncio.to_thread(self._fleet.victims, target))
        await self._until_busy(victim)
        self._rush()
        await asyncio.sleep(self._rng.uniform(0, _INTO_THE_RUSH))
        moment = time.monotonic() - began
        await asyncio.to_thread(self._fleet.freeze, victim)
        running = await self._running()
        pids = await asyncio.to_thread(self._fleet.kill, victim)
        self.kills.append(Kill(moment, target, pids, running))
        await self._check()
        await asyncio.to_thread(self._fleet.mend, victim)
        await self._check()

    async def _until_busy(self, victim: Victim) -> None:
        """Wait until a worker has begun a run, if it does: some shall die young all the same."""
        if not victim.workers or self._rng.random() < _YOUNG:
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_MATURE):
                while not self._has_run(victim.workers):  # noqa: ASYNC110 - in another process
                    await asyncio.sleep(_PAUSE)

    async def _running(self) -> frozenset[str]:
        """Return the messages of which a run is under way.

        Asked while the victim stands still: dead, its runs might be over on another worker before
        they are counted.
        """
        async with asyncio.timeout(_LONGEST):
            return await self._accounts.running()
