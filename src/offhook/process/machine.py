"""Run the processes of one machine, for `offhook run`, `offhook ingress` and `offhook worker`."""

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
from offhook.process.event_loop import on_signals, run_loop
from offhook.process.log_setup import configure, log_startup_warnings
from offhook.process.migration import BackgroundMigration
from offhook.process.plan import Limits, ProcessSlot, Role
from offhook.process.sockets import Sockets, admin_socket, is_public, listen, url_of
from offhook.process.spawn import Spawner
from offhook.process.supervisor import Supervisor
from offhook.settings import Settings, SignaturePolicy
from offhook.stores import opened, store_of
from offhook.twilio.webhook_urls import messages_url

_log = logging.getLogger("offhook")

# Seconds added to the handler timeout: a worker whose loop is blocked for longer is replaced.
_HEARTBEAT_MARGIN: Final = 10.0
# Seconds added to the drain timeout, so that children which drain in time are not killed.
_DRAIN_MARGIN: Final = 5.0
# Seconds to release the leases of a crashed worker. They expire anyway, and shutdown must not wait
# for a migration.
_RELEASE_TIMEOUT: Final = 5.0


@dataclass(frozen=True, slots=True)
class Machine:
    """A bot on this machine, with its settings.

    Attributes:
        name: of the bot, for each process to load.
        settings: of the bot, overridden by the command line.
    """

    name: AppName
    settings: Settings

    @classmethod
    def load(cls, app: str, **given: Any) -> "Machine":
        """Load a bot, with the settings given on the command line that are not None.

        Raises:
            AppNotFound: `app` does not name an app.
            SettingsError: a setting is wrong.
        """
        name = app_named(app)
        offhook: Offhook = name.load()
        offhook.configure(**{key: value for key, value in given.items() if value is not None})
        configure(offhook.settings)
        log_startup_warnings(offhook.settings, offhook.handlers)
        return cls(name, offhook.settings)

    def serve(self, roles: Collection[Role], *, forced: bool) -> None:
        """Listen, and run the processes of `roles` until SIGTERM or Ctrl-C.

        Args:
            roles: including `Role.INGRESS`.
            forced: allow unsigned webhooks on a public address.

        Raises:
            ConfigurationError: the address can't be used, or would accept unsigned webhooks.
            StoreError: the store can't be used.
        """
        with listen(self.settings.host, self.settings.port) as listener:
            _check_signature(self.settings, listener, forced=forced)
            self._run(roles, listener)

    def run_workers(self) -> None:
        """Run workers until SIGTERM or Ctrl-C.

        Raises:
            ConfigurationError: the admin address can't be used.
            StoreError: the store can't be used. One that is only unavailable is waited for.
        """
        self._run({Role.WORKER}, None)

    def _run(self, roles: Collection[Role], listener: socket.socket | None) -> None:
        with ExitStack() as stack:
            admin = admin_socket(self.settings)
            if admin is not None:
                stack.enter_context(admin)
            slots = self._slots(roles if admin is None else {*roles, Role.ADMIN})
            run_loop(lambda: self._supervise(slots, Sockets(listener, admin)))

    def _slots(self, roles: Collection[Role]) -> Sequence[ProcessSlot]:
        counts = {
            Role.INGRESS: self.settings.ingresses,
            Role.WORKER: self.settings.workers,
            Role.ADMIN: 1,
        }
        return [
            ProcessSlot(role, n + 1) for role in Role if role in roles for n in range(counts[role])
        ]

    async def _supervise(self, slots: Sequence[ProcessSlot], sockets: Sockets) -> None:
        settings, listener = self.settings, sockets.public
        preparation = BackgroundMigration(
            lambda: store_of(settings), needed=listener is not None and settings.spool_file is None
        )
        counting = () if sockets.admin is None else [s for s in slots if s.role is not Role.ADMIN]
        counters = {slot.name: SharedMemory() for slot in counting}
        supervisor = Supervisor(
            slots,
            spawn=Spawner(
                self.name,
                settings,
                sockets,
                counters,
                store_exists=lambda: preparation.succeeded,
            ),
            release=self._release,
            on_ready=lambda: _log.info("%s", self._readiness(sockets)),
            limits=Limits(
                silence=settings.handler_timeout + _HEARTBEAT_MARGIN,
                drain=settings.drain_timeout + _DRAIN_MARGIN,
            ),
        )

        def stop() -> None:
            if listener is not None:
                listener.close()  # new connections are refused instead of waiting in the backlog
            preparation.cancel()
            supervisor.stop()

        on_signals(stop)
        try:
            await preparation.wait()
            if listener is None and sockets.admin is not None:  # served while the store is away
                _log.info("%s", self._admin_address(sockets.admin))
            began_with = _file_identity(settings)
            await supervisor.run()
        finally:
            await preparation.end()
        if began_with in {None, _file_identity(settings)}:
            _log.info("stopped: every acknowledged webhook is stored")
        else:
            _log.error("stopped: the store's file was removed or replaced while the service ran")

    async def _release(self, owner: str) -> None:
        try:
            async with (
                asyncio.timeout(_RELEASE_TIMEOUT),
                opened(self.settings, create=False) as store,
            ):
                await store.release(owner)
        except TimeoutError:
            raise StoreUnavailable("the store does not answer in time") from None

    def _readiness(self, sockets: Sockets) -> str:
        if sockets.public is None:
            return "worker ready: claiming messages from the store"
        admin = "" if sockets.admin is None else f"; {self._admin_address(sockets.admin)}"
        webhook = messages_url(self.settings)
        return f"listening on {url_of(sockets.public)} for {webhook}{admin}"

    def _admin_address(self, admin: socket.socket) -> str:
        dashboard = self.settings.dashboard_token.get_secret_value()
        return f"metrics on {url_of(admin)}{', with the dashboard' if dashboard else ''}"


def _file_identity(settings: Settings) -> tuple[int, int] | None:
    """Return the device and inode of the store's file."""
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
            f"OFFHOOK_SIGNATURE is off and other machines can reach {settings.host}: anyone could "
            "send messages to your bot. Set it to required, or add --force-unsigned"
        )


def app_named(text: str) -> AppName:
    """Parse a `MODULE:NAME` argument, and print a hint if it was written another way.

    Raises:
        AppNotFound: it does not name an app.
    """
    name = AppName.parse(text, Path.cwd())
    if name.hint:
        typer.secho(f"Reading {text} as {name.hint}", dim=True, err=True)
    return name
