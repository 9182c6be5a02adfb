"""The two roles of a running app, wired to their adapters: answering, and working."""

import asyncio
import os
import secrets
import socket
import time
from collections.abc import Callable
from contextlib import suppress

from starlette.types import ASGIApp

from offhook.errors import OffhookError
from offhook.events import Observer, Trouble
from offhook.handlers import Handlers
from offhook.ingest import WebhookProcessor
from offhook.ports import Store
from offhook.replies import SendLoop
from offhook.settings import Settings, SignaturePolicy
from offhook.stores import open_store
from offhook.twilio.api import TwilioSender
from offhook.upkeep import Upkeep
from offhook.web import STATUS, routes
from offhook.worker import Worker

_RESTART_AFTER = 1.0  # seconds; a worker that fails for a reason of its own must not spin


def owner_name() -> str:
    """Return a name for this process that no other has, now or after a restart."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(3)}"


class Ingress:
    """Answers webhooks.

    Args:
        settings: of the app.
        observer: is told of every answer.
        store: of this event loop; opened and closed here.
    """

    def __init__(self, settings: Settings, observer: Observer, store: Store) -> None:
        self._settings = settings
        self._observer = observer
        self._store = store
        self.asgi: ASGIApp = routes(
            WebhookProcessor(store, settings, observer), settings, ready=self._ready
        )

    async def start(self) -> None:
        """Open the store.

        Raises:
            SettingsError: what is needed to tell Twilio's webhooks from others is missing.
            StoreError: the store can't be used.
        """
        if self._settings.signature is SignaturePolicy.OFF:
            self._observer(
                Trouble("signature-off", "webhooks are NOT validated: anybody can send them")
            )
        else:
            self._settings.require("account_sid", "auth_token")
        await self._store.open()

    async def stop(self) -> None:
        """Close the store."""
        await self._store.close()

    async def _ready(self) -> bool:
        # Goes the way of a webhook: through the writer, under the lock.
        await self._store.renew((), lease=1.0)
        return True


class WorkerRole:
    """Handles messages, sends replies, and keeps the store tidy, until told to stop.

    Args:
        settings: of the app.
        handlers: of the app.
        observer: is told of every run and send.
        owner: names this process in leases.
        beat: called every second while the event loop is alive.
    """

    def __init__(
        self,
        settings: Settings,
        handlers: Handlers,
        observer: Observer,
        *,
        owner: str,
        beat: Callable[[], None] | None = None,
    ) -> None:
        self._settings = settings
        self._handlers = handlers
        self._observer = observer
        self._owner = owner
        self._beat = beat

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain for `drain_timeout` seconds.

        Raises:
            SettingsError: what is needed to send replies is missing.
            StoreError: the store can't be used.
        """
        self._settings.require("account_sid", "auth_token")
        store = open_store(self._settings.store)
        sender = TwilioSender(self._settings, status_callback=status_callback(self._settings))
        await store.open()
        try:
            await self._serve(store, sender, stop)
        finally:
            await sender.close()
            await store.close()

    async def run_for_ever(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; what fails is told, and begun again."""
        while not stop.is_set():
            try:
                await self.run(stop)
            except OffhookError as error:
                self._observer(Trouble("worker-failed", f"the worker begins again: {error}"))
                with suppress(TimeoutError):
                    async with asyncio.timeout(_RESTART_AFTER):
                        await stop.wait()

    async def _serve(self, store: Store, sender: TwilioSender, stop: asyncio.Event) -> None:
        settings, observer, owner = self._settings, self._observer, self._owner
        worker = Worker(
            store,
            self._handlers,
            settings,
            observer,
            owner=owner,
            open_store=lambda: open_store(settings.store),
            beat=self._beat,
        )
        replies = SendLoop(store, sender, settings, observer, owner=owner)
        upkeep = Upkeep(store, settings, observer)
        async with asyncio.TaskGroup() as group:
            working = group.create_task(worker.run())
            group.create_task(replies.run())
            group.create_task(upkeep.run())
            await stop.wait()
            deadline = time.monotonic() + settings.drain_timeout
            worker.stop(settings.drain_timeout)
            await working
            # What the last runs have written still goes out, as far as there is time.
            upkeep.stop()
            replies.stop(max(1.0, deadline - time.monotonic()))


def status_callback(settings: Settings) -> Callable[[int], str] | None:
    """Return what makes the status callback's URL of a send; None when nobody could reach it.

    The URL carries the ledger's number, and the signature covers the URL: a status that comes
    before the REST answer still finds its send.
    """
    if not settings.public_url:
        return None
    base = f"{settings.public_url}{settings.mount_path}{STATUS}"
    return lambda send_id: f"{base}?send={send_id}"
