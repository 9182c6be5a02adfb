"""Start the process of a slot, with the sockets and shared memory it inherits."""

import socket
from collections.abc import Callable, Mapping, Sequence

from offhook.observe.shared_counters import SharedMemory
from offhook.process.app_loader import AppName
from offhook.process.child import Child, HasFileno
from offhook.process.plan import ProcessSlot, Role
from offhook.process.sockets import Sockets
from offhook.settings import Settings


class Spawner:
    """Start processes; the `spawn` of a supervisor.

    Args:
        name: of the bot, for each process to load.
        settings: of the bot.
        sockets: inherited by the processes that listen.
        counters: shared, by slot name; empty where no admin process reads them.
        store_exists: whether the store has been opened, so that it must not be created anew.
    """

    def __init__(
        self,
        name: AppName,
        settings: Settings,
        sockets: Sockets,
        counters: Mapping[str, SharedMemory],
        *,
        store_exists: Callable[[], bool],
    ) -> None:
        self._name = name
        self._settings = settings
        self._sockets = sockets
        self._counters = counters
        self._store_is_there = store_exists

    def __call__(self, slot: ProcessSlot, owner: str) -> Child:
        """Start the process of a slot."""
        match slot.role:
            case Role.INGRESS:
                listener = self._sockets.of(slot.role)
                return self._start(slot, "--listener", str(listener.fileno()), sockets=[listener])
            case Role.WORKER:
                nice = str(self._settings.worker_nice)
                return self._start(slot, "--owner", owner, "--nice", nice)
            case Role.ADMIN:
                return self._start_admin()

    def _start(
        self, slot: ProcessSlot, *arguments: str, sockets: Sequence[socket.socket] = ()
    ) -> Child:
        shared: list[HasFileno] = [*sockets]
        more: list[str] = []
        if counters := self._counters.get(slot.name):
            shared.append(counters)
            more = ["--counters", str(counters.fileno())]
        if self._store_is_there():
            more.append("--no-create-store")
        return Child.start(
            "offhook.process.main", [slot.role, self._name.text, *arguments, *more], shared=shared
        )

    def _start_admin(self) -> Child:
        """Start the admin process, which reads the counters and does not load the bot."""
        listener = self._sockets.of(Role.ADMIN)
        arguments = ["--listener", str(listener.fileno())]
        for name, counters in self._counters.items():
            arguments += ["--counters", name, str(counters.fileno())]
        return Child.start(
            "offhook.process.admin_main",
            arguments,
            shared=[listener, *self._counters.values()],
            stdin=self._settings.to_json(),
        )
