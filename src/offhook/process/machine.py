"""One machine's processes: what `offhook run`, `offhook ingress` and `offhook worker` share."""

import asyncio
import logging
import socket
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import typer

from offhook.app import Offhook
from offhook.errors import SettingsError, StoreUnavailable
from offhook.observe.shared_counters import SharedMemory
from offhook.process.app_loader import AppName
from offhook.process.log_setup import configure, tell_slips
from offhook.process.migration import BackgroundMigration
from offhook.process.plan import Limits, Role, Seat
from offhook.process.server import is_public, listen, on_signals, run_loop, url_of
from offhook.process.sockets import Sockets, admin_socket
from offhook.process.spawn import Spawner
from offhook.process.supervisor import Supervisor
from offhook.settings import Settings, SignaturePolicy
from offhook.stores import opened, store_of
from offhook.twilio.webhook_urls import messages_url

_log = logging.getLogger("offhook")

# Added to what a handler may take: a worker whose loop stands still for longer is replaced.
_SILENCE: Final = 10.0
# Added to the time for draining: children that end in time need not be killed a moment before.
_DRAIN: Final = 5.0
# Seconds for telling the store of a dead worker, whose leases run out anyway: the end of all must
# not wait for a migration.
_RELEASE: Final = 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A bot on this machine, with its settings.

    Attributes:
        name: how each process finds the bot.
        settings: of the bot, with the command line's on top.
    """

    name: AppName
    settings: Settings

    @classmethod
    def named(cls, app: str, **given: Any) -> "Machine":
        """Load a bot; what is given on the command line and not None is a setting.

        Raises:
            AppNotFound: `app` names none.
            SettingsError: a setting is wrong.
        """
        name = app_named(app)
        offhook: Offhook = name.load()
        offhook.configure(**{key: value for key, value in given.items() if value is not None})
        configure(offhook.settings)
        tell_slips(offhook.settings, offhook.handlers)
        return cls(name, offhook.settings)

    def answer(self, roles: Collection[Role], *, forced: bool) -> None:
        """Listen, and run the processes of `roles`, until told to end.

        Args:
            roles: with `Role.INGRESS`.
            forced: allow unsigned webhooks on a public address.

        Raises:
            ConfigurationError: nobody could, or should, reach this server as it is set up.
            StoreError: the store can't be used.
        """
        with listen(self.settings.host, self.settings.port) as listener:
            _check_signature(self.settings, listener, forced=forced)
            self._run(roles, listener)

    def work(self) -> None:
        """Run workers, until told to end.

        Raises:
            ConfigurationError: the admin address can't be used.
            StoreError: the store can't be used; one that is away is waited for.
        """
        self._run({Role.WORKER}, None)

    def _run(self, roles: Collection[Role], listener: socket.socket | None) -> None:
        with ExitStack() as stack:
            admin = admin_socket(self.settings)
            if admin is not None:
                stack.enter_context(admin)
            seats = self._seats(roles if admin is None else {*roles, Role.ADMIN})
            run_loop(lambda: self._supervise(seats, Sockets(listener, admin)))

    def _seats(self, roles: Collection[Role]) -> Sequence[Seat]:
        counts = {
            Role.INGRESS: self.settings.ingresses,
            Role.WORKER: self.settings.workers,
            Role.ADMIN: 1,
        }
        return [Seat(role, n + 1) for role in Role if role in roles for n in range(counts[role])]

    async def _supervise(self, seats: Sequence[Seat], sockets: Sockets) -> None:
        settings, listener = self.settings, sockets.public
        preparation = BackgroundMigration(
            lambda: store_of(settings), needed=listener is not None and not settings.spool
        )
        counting = () if sockets.admin is None else [s for s in seats if s.role is not Role.ADMIN]
        sheets = {seat.name: SharedMemory() for seat in counting}
        supervisor = Supervisor(
            seats,
            spawn=Spawner(
                self.name,
                settings,
                sockets,
                sheets,
                store_is_there=lambda: preparation.succeeded,
            ),
            release=self._release,
            on_ready=lambda: _log.info("%s", self._readiness(sockets)),
            limits=Limits(
                silence=settings.handler_timeout + _SILENCE, drain=settings.drain_timeout + _DRAIN
            ),
        )

        def stop() -> None:
            if listener is not None:
                listener.close()  # who connects now is refused at once, and does not wait in vain
            preparation.cancel()
            supervisor.stop()

        on_signals(stop)
        try:
            await preparation.wait()
            began_with = _file_of(settings)
            await supervisor.run()
        finally:
            await preparation.end()
        # With a spool the start need not have waited for the store: any file is the right one then.
        if began_with in {None, _file_of(settings)}:
            _log.info("ended: everything that was acknowledged is stored")
        else:
            _log.error("ended: the store's file was removed or replaced while the service ran")

    async def _release(self, owner: str) -> None:
        try:
            async with (
                asyncio.timeout(_RELEASE),
                opened(self.settings, create=False) as store,
            ):
                await store.release(owner)
        except TimeoutError:
            raise StoreUnavailable("the store does not answer in time") from None

    def _readiness(self, sockets: Sockets) -> str:
        admin = "" if sockets.admin is None else f"; metrics on {url_of(sockets.admin)}"
        if admin and self.settings.dashboard_token.get_secret_value():
            admin = f"{admin}, with the dashboard"
        if sockets.public is None:
            return f"working: messages are taken from the store as they come{admin}"
        webhook = messages_url(self.settings)
        return f"listening on {url_of(sockets.public)} for {webhook}{admin}"


def _file_of(settings: Settings) -> tuple[int, int] | None:
    """Return which file the store is: its device and inode."""
    if settings.store_file is None:
        return None
    try:
        found = settings.store_file.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _check_signature(settings: Settings, listener: socket.socket, *, forced: bool) -> None:
    if settings.signature is SignaturePolicy.OFF and is_public(listener) and not forced:
        raise SettingsError(
            f"OFFHOOK_SIGNATURE is off and {settings.host} can be reached by others: anybody could "
            "send messages to your bot. Set it to required, or add --force-unsigned"
        )


def app_named(text: str) -> AppName:
    """Return what a `MODULE:NAME` argument means, and say when it is better written.

    Raises:
        AppNotFound: it means nothing.
    """
    name = AppName.parse(text, Path.cwd())
    if name.hint:
        typer.secho(f"{text} is read as {name.hint}", dim=True, err=True)
    return name
