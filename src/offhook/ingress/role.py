"""Wire the reception to its store, spool, cache and tokens: the ingress role."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from starlette.types import ASGIApp

from offhook.arrivals import Breaker, Spooling
from offhook.arrivals.logged import LoggedStore
from offhook.arrivals.spool import open_spool
from offhook.cache import open_cache
from offhook.core.inbound import Inbound, Webhook
from offhook.events import Observer, Problem, Topic
from offhook.ingress.admission import BacklogLimit
from offhook.ingress.credentials import Credentials, Lookup
from offhook.ingress.deferral import DeferralLimit
from offhook.ingress.direct import Webhooks
from offhook.ingress.reading import Reader
from offhook.ingress.reception import Reception
from offhook.ingress.routes import routes
from offhook.settings import Settings, SignaturePolicy
from offhook.stores import store_of
from offhook.stores.api import Append, Store
from offhook.stores.sqlite.store import SqliteStore
from offhook.web.allowed_hosts import allowed_hosts

# Seconds that a webhook waits for the store before it goes into the spool. An accept takes
# PostgreSQL a few milliseconds; at half a second the store is as good as unavailable.
_STORE_PATIENCE = 0.5


class Ingress:
    """Answers webhooks.

    Args:
        settings: of the app.
        observer: called with every event.
        lookup: returns the auth tokens of an account; None for those of the settings.
        create_store: whether to make the store where there is none.

    Attributes:
        asgi: answers every request.
        webhooks: answers most webhooks, for less, where the server is ours.

    Raises:
        SettingsError: `store`, `spool` or `cache` cannot be read.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        *,
        lookup: Lookup | None = None,
        create_store: bool = True,
    ) -> None:
        self._settings = settings
        self._observer = observer
        spool = settings.spool
        self._intake = (
            _through_spool(settings, observer, spool.get_secret_value(), create_store=create_store)
            if spool
            else _direct(settings, observer, create_store=create_store)
        )
        self._cache = open_cache(settings, observer)
        self._credentials = Credentials(settings, lookup, observer)
        reception = Reception(
            self._intake.append,
            settings,
            observer,
            cache=self._cache,
            credentials=self._credentials,
            defer=DeferralLimit(self._intake.append, self._intake.backlog).admit,
        )
        self.asgi: ASGIApp = routes(reception, settings, ready=self._intake.ready)
        self.webhooks = Webhooks(reception, Reader(settings))

    async def start(self) -> None:
        """Open the store, and the spool if there is one.

        Raises:
            SettingsError: what is needed to tell Twilio's webhooks from others is missing.
            StoreError: the store can't be used. With a spool, an unavailable one is no error.
        """
        if self._settings.signature is SignaturePolicy.OFF:
            self._observer(
                Problem(Topic.SIGNATURE_OFF, "webhooks are NOT validated: anybody can send them")
            )
        else:
            self._settings.require("account_sid", "auth_token")
        if not self._settings.public_url:
            text = (
                "OFFHOOK_PUBLIC_URL is not set: replies have no status callbacks, and webhooks are "
                f"accepted only for {allowed_hosts(self._settings)} (OFFHOOK_ALLOWED_HOSTS)"
            )
            self._observer(Problem(Topic.SETTINGS, text))
        await self._intake.open()
        await self._intake.limit.start()
        await self._cache.start()

    async def stop(self) -> None:
        """Forward what is in the spool, as far as there is time, and close the store."""
        await self._cache.close()
        await self._credentials.close()
        await self._intake.limit.stop()
        await self._intake.close()


class _Intake(NamedTuple):
    """The way into the store, with what opens and closes it.

    Attributes:
        append: stores a webhook.
        backlog: counts the live messages. See `api.Entrance.backlog`.
        limit: of the store's backlog; started once the store is open.
        ready: returns True if a webhook could be stored, or raises.
    """

    append: Append[Webhook]
    backlog: Callable[[int], Awaitable[int]]
    limit: BacklogLimit[Any]
    open: Callable[[], Awaitable[None]]
    close: Callable[[], Awaitable[None]]
    ready: Callable[[], Awaitable[bool]]


def _direct(settings: Settings, observer: Observer, *, create_store: bool) -> _Intake:
    """Return the intake without a spool.

    On SQLite, webhooks are appended to an arrivals log, whether or not the store is available. On
    PostgreSQL they are answered 503 while it is not.
    """
    store = store_of(settings, create=create_store)
    if isinstance(store, SqliteStore):
        logged = LoggedStore(store, observer)
        of_log = BacklogLimit(logged, settings.max_backlog, observer)
        return _without_spool(of_log.admit, logged, of_log)
    limit = BacklogLimit(store, settings.max_backlog, observer)
    return _without_spool(reading(limit.admit), store, limit)


def _without_spool(
    append: Append[Webhook], store: LoggedStore | Store, limit: BacklogLimit[Any]
) -> _Intake:
    async def ready() -> bool:
        await store.check()
        return True

    return _Intake(append, store.backlog, limit, store.open, store.close, ready)


def _through_spool(
    settings: Settings, observer: Observer, spool_url: str, *, create_store: bool
) -> _Intake:
    """Return the intake that keeps webhooks in a spool while the store is unavailable."""
    breaker = Breaker(
        lambda: store_of(settings, create=create_store),
        observer,
        # The spool needs time as well, before the webhook is answered 503.
        patience=min(_STORE_PATIENCE, settings.enqueue_timeout / 4),
    )
    limit = BacklogLimit(breaker, settings.max_backlog, observer)
    spooling = Spooling(breaker, limit.admit, open_spool(spool_url), observer)
    return _Intake(
        reading(spooling.append), breaker.backlog, limit,
        spooling.start, spooling.stop, spooling.ready,
    )  # fmt: skip


def reading(append: Append[Inbound]) -> Append[Webhook]:
    """Return what reads webhooks before it appends them; those in a log are read by the sorter."""
    return lambda webhook: append(Inbound.of(webhook))
