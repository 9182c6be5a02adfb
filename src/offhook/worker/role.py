"""A worker, wired to its adapters: it runs handlers, sends replies and keeps the store tidy."""

import asyncio
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple, Self

from offhook.concurrency import wait_for_event
from offhook.core.send_reference import FIELD, send_reference
from offhook.core.urls import RETRY_OVERRIDES
from offhook.errors import OffhookError, StoreBroken
from offhook.events import Observer, Problem, Topic
from offhook.http_session import proxy_for
from offhook.ingress.credentials import Credentials
from offhook.ports import Logins, SenderLimit
from offhook.settings import Settings, UnknownSendPolicy
from offhook.stores import store_of
from offhook.stores.api import Store
from offhook.stores.availability import wait_until_available
from offhook.stores.sqlite.store import SqliteStore
from offhook.twilio.media import MediaClient
from offhook.twilio.sender import TwilioSender
from offhook.twilio.typing_indicator import TypingIndicator
from offhook.twilio.webhook_urls import status_url
from offhook.worker.handlers import Handlers
from offhook.worker.maintenance import Maintenance
from offhook.worker.owner import owner_name
from offhook.worker.rate_limit import open_sender_limit
from offhook.worker.schedule import Schedule
from offhook.worker.sending import SendLoop
from offhook.worker.service import Worker
from offhook.worker.sorter import Sorter
from offhook.worker.takeover import Takeover
from offhook.worker.unknown_sends import UnknownSends

Lend = Callable[[Store], AbstractContextManager[None]]

# Seconds; a worker that fails for a reason of its own must not spin: 1, 2, 4, ... 60. One that had
# worked for a minute begins anew with the first.
_RESTART_AFTER = 1.0
_LAST_RESTART_AFTER = 60.0


class WorkerRole:
    """Handles messages, sends replies and maintains the store, until it is stopped.

    Args:
        settings: of the app.
        handlers: of the app.
        observer: called with every run and send.
        owner: names this process in leases.
        create_store: whether to make the store where there is none, when it is opened first.
        on_ready: called whenever a worker has claimed for the first time.
        lend: lends the open store to `Offhook.send`, within its context.
    """

    def __init__(
        self,
        settings: Settings,
        handlers: Handlers,
        observer: Observer,
        *,
        owner: str,
        create_store: bool = True,
        on_ready: Callable[[], None] = lambda: None,
        lend: Lend = lambda _: nullcontext(),
    ) -> None:
        self._settings = settings
        self._handlers = handlers
        self._observer = observer
        self._owner = owner
        self._create_store = create_store
        self._on_ready = on_ready
        self._lend = lend
        self._broken = False

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set, then drain for `drain_timeout` seconds.

        Raises:
            SettingsError: what is needed to send replies is missing.
            ConfigurationError: the environment's proxy can't be used.
            StoreBroken: the store was there, and does not come back by itself.
            StoreError: the store can't be used, for another reason than that it is unavailable.
        """
        self._settings.require("account_sid", "auth_token")
        proxy_for(self._settings.twilio_api)  # raises before a store is open
        store = await wait_until_available(
            self._make_store, stop, self._observer, "messages are not handled"
        )
        if store is None:
            return
        # A store that is removed from now on is not replaced by an empty one.
        self._create_store = False
        if self._broken:  # reported by a worker that has ended
            self._broken = False
            self._observer(Problem(Topic.STORE_BROKEN, "the store is back", resolved=True))
        limit = open_sender_limit(self._settings, self._observer)
        credentials = Credentials(self._settings, self._handlers.credentials, self._observer)
        twilio = _Twilio.of(self._settings, self._observer, credentials)
        try:
            with self._lend(store):
                await self._serve(store, twilio, credentials, limit, stop)
        finally:
            if limit is not None:
                await limit.close()
            await credentials.close()
            await twilio.close()
            await store.close()

    async def run_for_ever(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; report a failure, and start again after a pause."""
        reported, pause = "", 0.0
        while not stop.is_set():
            began = time.monotonic()
            try:
                await self.run(stop)
            except Exception as error:  # noqa: BLE001 - without a worker no message is handled
                if time.monotonic() - began > _LAST_RESTART_AFTER:
                    reported, pause = "", 0.0
                self._broken = self._broken or isinstance(error, StoreBroken)
                reason = str(error) if isinstance(error, OffhookError) else type(error).__name__
                if reason != reported:
                    reported, text = reason, f"the worker is restarted: {reason}"
                    self._observer(Problem(Topic.WORKER_FAILED, text))
                # A new owner name, or it would take its predecessor's claims for its own.
                self._owner = owner_name()
                pause = min(_LAST_RESTART_AFTER, max(_RESTART_AFTER, 2 * pause))
                await wait_for_event(stop, pause)

    def _make_store(self) -> Store:
        return store_of(self._settings, create=self._create_store, follow=False)

    async def _serve(
        self,
        store: Store,
        twilio: "_Twilio",
        credentials: Credentials,
        limit: SenderLimit | None,
        stop: asyncio.Event,
    ) -> None:
        settings, observer, owner = self._settings, self._observer, self._owner
        worker = Worker(
            store,
            self._handlers,
            settings,
            observer,
            owner=owner,
            open_store=self._make_store,
            credentials=credentials,
            sender_limit=limit,
            typing=twilio.typing,
            files=twilio.media,
            on_ready=self._on_ready,
        )
        replies = SendLoop(store, twilio.sender, settings, observer, owner=owner)
        maintenance = Maintenance(store, settings, observer)
        takeover = Takeover(store, observer)
        schedule = Schedule(store)
        sorter = Sorter(store, observer) if isinstance(store, SqliteStore) else None
        try:
            async with asyncio.TaskGroup() as group:
                if sorter is not None:
                    group.create_task(sorter.run())
                await store.join(owner)
                group.create_task(takeover.run())
                group.create_task(schedule.run())
                working = group.create_task(worker.run())
                group.create_task(replies.run())
                group.create_task(maintenance.run())
                looking_up = group.create_task(self._look_up(store, credentials))
                await stop.wait()
                looking_up.cancel()
                if sorter is not None:
                    sorter.stop()
                deadline = time.monotonic() + settings.drain_timeout
                worker.stop(settings.drain_timeout)
                await working
                # The replies of the last runs are still sent, as far as there is time.
                maintenance.stop()
                takeover.stop()
                schedule.stop()
                replies.stop(max(1.0, deadline - time.monotonic()))
        except ExceptionGroup as failed:
            first: Exception = failed  # the first failure has ended the others
            while isinstance(first, ExceptionGroup):
                first = first.exceptions[0]
            raise first from None
        finally:
            await store.leave()

    async def _look_up(self, store: Store, logins: Logins) -> None:
        if self._settings.unknown_sends is UnknownSendPolicy.ASK:
            await UnknownSends(store, self._settings, self._observer, logins).run()


class _Twilio(NamedTuple):
    """What a worker asks of Twilio."""

    sender: TwilioSender
    typing: TypingIndicator
    media: MediaClient

    @classmethod
    def of(cls, settings: Settings, observer: Observer, logins: Logins) -> Self:
        return cls(
            TwilioSender(settings, logins, status_callback=status_callback(settings)),
            TypingIndicator(settings, observer, logins),
            MediaClient(settings, logins),
        )

    async def close(self) -> None:
        for one in self:
            await one.close()


def status_callback(settings: Settings) -> Callable[[int, str], str] | None:
    """Return the function that makes a send's status callback URL; None when it would not work.

    The URL refers to the send, and the signature covers the URL: a status that comes before the
    REST answer still finds its send. The URL's fragment makes Twilio retry while we are
    unavailable: an ambiguous send whose statuses are lost stays unknown.
    """
    if not (settings.public_url and settings.auth_tokens):
        return None
    base, token = status_url(settings), settings.auth_tokens[0]

    def callback(send_id: int, account_sid: str) -> str:
        return f"{base}?{FIELD}={send_reference(send_id, account_sid, token)}{RETRY_OVERRIDES}"

    return callback
