"""Background jobs that replay or discard many messages."""

import asyncio
import secrets
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final

from offhook.errors import ConfigurationError
from offhook.stores.api import Inbox
from offhook.stores.bulk import REPLAYS_PER_SECOND, Progressed, act_on_all

_KEPT: Final = 20  # jobs; older ones are forgotten


class Action(StrEnum):
    """An operator's action on messages."""

    REPLAY = "replay"
    DISCARD = "discard"

    @property
    def done(self) -> str:
        """Its past participle."""
        return f"{self}ed"


_ACTS: Final[Mapping[Action, Callable[[Inbox, int], Awaitable[bool]]]] = MappingProxyType(
    {
        Action.REPLAY: lambda inbox, id_: inbox.replay(id_),
        Action.DISCARD: lambda inbox, id_: inbox.drop(id_),
    }
)


async def act(inbox: Inbox, doing: Action, id_: int) -> int | None:
    """Apply the action to one message; return None if its state does not allow that."""
    return id_ if await _ACTS[doing](inbox, id_) else None


@dataclass(slots=True)
class Job:
    """An action on many messages.

    Attributes:
        began, ended: seconds since the epoch.
    """

    id: str
    doing: Action
    so_far: Progressed
    began: float
    ended: float | None = None
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    task: "asyncio.Task[None] | None" = None

    @property
    def percent(self) -> int:
        """The progress in percent."""
        gone = self.so_far.matched - self.so_far.untouched
        return 100 * gone // self.so_far.matched if self.so_far.matched else 100


class Jobs:
    """The jobs of this process; they stop with it, between two messages."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def find(self, id_: str) -> Job | None:
        """Return a job."""
        return self._jobs.get(id_)

    @property
    def busy(self) -> tuple[Job, ...]:
        """The jobs that have not ended."""
        return tuple(job for job in self._jobs.values() if job.ended is None)

    def start(self, inbox: Inbox, doing: Action, ids: list[int]) -> Job:
        """Start a job on messages, in order.

        Raises:
            ConfigurationError: another job is running.
        """
        if self.busy:
            raise ConfigurationError("another job is running: stop it, or wait until it ends")
        job = Job(secrets.token_hex(8), doing, Progressed(len(ids)), time.time())
        self._jobs[job.id] = job
        for old in list(self._jobs)[:-_KEPT]:
            del self._jobs[old]
        job.task = asyncio.create_task(self._run(inbox, job, ids))
        return job

    async def close(self) -> None:
        """Stop all jobs."""
        tasks = [job.task for job in self.busy if job.task]
        for job in self.busy:
            job.stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, inbox: Inbox, job: Job, ids: list[int]) -> None:
        rate = REPLAYS_PER_SECOND if job.doing is Action.REPLAY else None
        try:
            async for _ in act_on_all(
                ids,
                lambda id_: act(inbox, job.doing, id_),
                rate=rate,
                stop=job.stop,
                so_far=job.so_far,
            ):
                await asyncio.sleep(0)
        finally:
            job.ended = time.time()
