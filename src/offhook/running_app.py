"""The parts of an app that has been started."""

import asyncio
from typing import TYPE_CHECKING

from offhook.events import Observer, Problem, Topic
from offhook.ingress.role import Ingress
from offhook.settings import Settings
from offhook.startup import startup_warnings
from offhook.worker.handlers import Handlers
from offhook.worker.owner import owner_name

if TYPE_CHECKING:
    from offhook.worker.role import Lend, WorkerRole


class RunningApp:
    """The ingress and the worker of a started app.

    Args:
        settings: of the app.
        handlers: of the app.
        observer: called with every event.
        inline_worker: whether handlers run in this process.
        create_store: whether to make the store where there is none.
        lend: as of `WorkerRole`.
    """

    def __init__(
        self,
        settings: Settings,
        handlers: Handlers,
        observer: Observer,
        *,
        inline_worker: bool,
        create_store: bool,
        lend: "Lend",
    ) -> None:
        self.ingress = Ingress(
            settings, observer, lookup=handlers.credentials, create_store=create_store
        )
        self._role = (
            _inline_worker(settings, handlers, observer, create_store=create_store, lend=lend)
            if inline_worker
            else None
        )
        self._settings = settings
        self._handlers = handlers
        self._observer = observer
        self._stop = asyncio.Event()
        self._working: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Open the store, and begin to work if the worker is inline.

        Raises:
            SettingsError: a setting is missing or invalid.
            StoreError: the store cannot be used.
        """
        await self.ingress.start()
        if self._role is not None:
            self._observer(
                Problem(
                    Topic.WORKER_INLINE,
                    "handlers run in the process that answers: one that blocks delays answers "
                    "(offhook run keeps them apart)",
                )
            )
            # Under `offhook run`, its parent tells it.
            for problem in startup_warnings(self._settings, self._handlers):
                self._observer(problem)
            self._working = asyncio.create_task(
                self._role.run_for_ever(self._stop), name="offhook worker"
            )

    async def stop(self) -> None:
        """Drain, and close the store."""
        self._stop.set()
        if self._working is not None:
            await self._working
        await self.ingress.stop()


def _inline_worker(
    settings: Settings, handlers: Handlers, observer: Observer, *, create_store: bool, lend: "Lend"
) -> "WorkerRole":
    # Imported on demand: a process of `offhook run` that answers webhooks has no worker.
    from offhook.worker.role import WorkerRole  # noqa: PLC0415

    return WorkerRole(
        settings, handlers, observer, owner=owner_name(), create_store=create_store, lend=lend
    )
