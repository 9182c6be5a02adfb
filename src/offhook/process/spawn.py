"""Starting the process of a seat, with all that it inherits."""

import socket
from collections.abc import Callable, Mapping, Sequence

from offhook.observe.shared_counters import SharedMemory
from offhook.process.app_loader import AppName
from offhook.process.child import Child, HasFileno
from offhook.process.plan import Role, Seat
from offhook.process.sockets import Sockets
from offhook.settings import Settings


class Spawner:
    """Starts processes; the `spawn` of a supervisor.

    Args:
        name: how each finds the bot.
        settings: of the bot.
        sockets: what they listen on.
        sheets: what they count in, by the names of their seats; empty when nobody reads it.
        store_is_there: whether the store has been opened: it is not made anew then.
    """

    def __init__(
        self,
        name: AppName,
        settings: Settings,
        sockets: Sockets,
        sheets: Mapping[str, SharedMemory],
        *,
        store_is_there: Callable[[], bool],
    ) -> None:
        self._name = name
        self._settings = settings
        self._sockets = sockets
        self._sheets = sheets
        self._store_is_there = store_is_there

    def __call__(self, seat: Seat, owner: str) -> Child:
        """Start the process of a seat."""
        match seat.role:
            case Role.INGRESS:
                listener = self._sockets.of(seat.role)
                return self._start(seat, "--listener", str(listener.fileno()), sockets=[listener])
            case Role.WORKER:
                nice = str(self._settings.worker_nice)
                return self._start(seat, "--owner", owner, "--nice", nice)
            case Role.ADMIN:
                return self._start_admin()

    def _start(self, seat: Seat, *arguments: str, sockets: Sequence[socket.socket] = ()) -> Child:
        shared: list[HasFileno] = [*sockets]
        more: list[str] = []
        if sheet := self._sheets.get(seat.name):
            shared.append(sheet)
            more = ["--sheet", str(sheet.fileno())]
        if self._store_is_there():
            more.append("--store-is-there")
        return Child.start(
            "offhook.process.main", [seat.role, self._name.text, *arguments, *more], shared=shared
        )

    def _start_admin(self) -> Child:
        """Start the one that reads what the others count. It has no use for the bot."""
        listener = self._sockets.of(Role.ADMIN)
        arguments = ["--listener", str(listener.fileno())]
        for name, sheet in self._sheets.items():
            arguments += ["--sheet", name, str(sheet.fileno())]
        return Child.start(
            "offhook.process.admin_main",
            arguments,
            shared=[listener, *self._sheets.values()],
            told=self._settings.to_json(),
        )
