"""The supervisor, with a process that is ready only as it is told to stop."""

import asyncio
from collections.abc import Callable
from typing import Any, cast

from offhook.process.child import Child, LifelineEvent
from offhook.process.plan import Limits, ProcessSlot, Role
from offhook.process.supervisor import Supervisor


class Late:
    """A child that has reached its readiness when SIGTERM arrives."""

    pid = 1
    status: int | None = None

    def __init__(self) -> None:
        self.watched = asyncio.Event()
        self._hear: Callable[[LifelineEvent], None] = print

    def watch(self, hear: Callable[[LifelineEvent], None]) -> None:
        self._hear = hear
        self.watched.set()

    def terminate(self) -> None:
        self._hear(LifelineEvent.READY)
        self.status = 0
        self._hear(LifelineEvent.CLOSED)

    def poll(self) -> int | None:
        return self.status

    def close(self) -> None: ...


async def test_what_is_ready_once_it_is_stopped_is_not_told() -> None:
    child = Late()
    told: list[bool] = []

    async def release(_owner: str) -> Any: ...

    supervisor = Supervisor(
        [ProcessSlot(Role.INGRESS, 1)],
        spawn=lambda _slot, _owner: cast("Child", child),
        release=release,
        on_ready=lambda: told.append(True),  # what it listened on is closed by now
        limits=Limits(silence=40.0, drain=30.0),
    )
    async with asyncio.timeout(30):
        running = asyncio.create_task(supervisor.run())
        await child.watched.wait()
        supervisor.stop()
        await running
    assert not told
