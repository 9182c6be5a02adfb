"""Background jobs that act on many messages or replies."""

import asyncio
import secrets
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType
from typing import Final, Self

from offhook.admin.forms import PATH as DASHBOARD
from offhook.errors import ConfigurationError
from offhook.stores.api import Store
from offhook.stores.bulk import (
    REPLAYS_PER_SECOND,
    RETRIES_PER_SECOND,
    Progressed,
    act_on_all,
)

PATH: Final = f"{DASHBOARD}/jobs"

_KEPT: Final = 20  # jobs; older ones are forgotten


class Action(StrEnum):
    """An operator's action on messages or on replies."""

    done: str
    noun: str

    REPLAY = "replay", "replayed", "message"
    DISCARD = "discard", "discarded", "message"
    RETRY = "retry", "retried", "reply"
    RETRY_UNKNOWN = "retry-unknown", "retried", "reply"  # also what the person may have had
    CANCEL = "cancel", "cancelled", "reply"

    def __new__(cls, value: str, done: str, noun: str) -> Self:
        """Make a member from its name, its past participle, and what it acts on."""
        action = str.__new__(cls, value)
        action._value_ = value
        action.done = done
        action.noun = noun
        return action


async def act(store: Store, doing: Action, id_: int) -> int | None:
    """Apply the action to one; return its number then, None if its state does not allow that."""
    match doing:
        case Action.REPLAY:
            return id_ if await store.replay(id_) else None
        case Action.DISCARD:
            return id_ if await store.drop(id_) else None
        case Action.RETRY | Action.RETRY_UNKNOWN:
            return await store.retry_send(id_, unknown=doing is Action.RETRY_UNKNOWN)
        case Action.CANCEL:
            return id_ if await store.cancel_send(id_) else None


_RATES: Final[Mapping[Action, float]] = MappingProxyType(
    {
        Action.REPLAY: REPLAYS_PER_SECOND,
        Action.RETRY: RETRIES_PER_SECOND,
        Action.RETRY_UNKNOWN: RETRIES_PER_SECOND,
    }
)


@dataclass(slots=True)
class Job:
    """An action on many.

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
    """The jobs of this process; they stop with it, between two of their actions."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}

    def find(self, id_: str) -> Job | None:
        """Return a job."""
        return self._jobs.get(id_)

    @property
    def busy(self) -> tuple[Job, ...]:
        """The jobs that have not ended."""
        return tuple(job for job in self._jobs.values() if job.ended is None)

    def start(self, store: Store, doing: Action, ids: list[int]) -> Job:
        """Start a job, which acts in order.

        Raises:
            ConfigurationError: another job is running.
        """
        if self.busy:
            raise ConfigurationError("another job is running: stop it, or wait until it ends")
        job = Job(secrets.token_hex(8), doing, Progressed(len(ids)), time.time())
        self._jobs[job.id] = job
        for old in list(self._jobs)[:-_KEPT]:
            del self._jobs[old]
        job.task = asyncio.create_task(self._run(store, job, ids))
        return job

    async def close(self) -> None:
        """Stop all jobs."""
        tasks = [job.task for job in self.busy if job.task]
        for job in self.busy:
            job.stop.set()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def _run(self, store: Store, job: Job, ids: list[int]) -> None:
        try:
            async for _ in act_on_all(
                ids,
                lambda id_: act(store, job.doing, id_),
                rate=_RATES.get(job.doing),
                stop=job.stop,
                so_far=job.so_far,
            ):
                await asyncio.sleep(0)
        finally:
            job.ended = time.time()
