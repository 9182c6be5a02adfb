"""Wire the reception to its store, cache and tokens: the ingress role."""

from starlette.types import ASGIApp

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.direct import DirectStore
from offhook.arrivals.logged import LoggedStore
from offhook.arrivals.spool import Spool
from offhook.arrivals.spooled import SpooledStore
from offhook.cache import open_cache
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
from offhook.stores.api import Store
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
        self._store = way_into_store(settings, observer, create_store=create_store)
        self._limit = BacklogLimit(self._store, settings.max_backlog, observer)
        self._cache = open_cache(settings, observer)
        self._credentials = Credentials(settings, lookup, observer)
        reception = Reception(
            self._limit.admit,
            settings,
            observer,
            cache=self._cache,
            credentials=self._credentials,
            defer=DeferralLimit(self._limit.admit, self._store.backlog).admit,
        )
        self.asgi: ASGIApp = routes(reception, settings, ready=self._is_ready)
        self.webhooks = Webhooks(reception, Reader(settings))

    async def start(self) -> None:
        """Open the way into the store.

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
        if self._settings.unused_spool is not None:
            text = "OFFHOOK_SPOOL is not used: the arrivals logs of a SQLite store do the same"
            self._observer(Problem(Topic.SETTINGS, text))
        await self._store.open()
        await self._limit.start()
        await self._cache.start()

    async def stop(self) -> None:
        """Forward what is in the spool, as far as there is time, and close the store."""
        await self._cache.close()
        await self._credentials.close()
        await self._limit.stop()
        await self._store.close()

    async def _is_ready(self) -> bool:
        await self._store.check()
        return True


Way = LoggedStore | SpooledStore | DirectStore


def way_into_store(settings: Settings, observer: Observer, *, create_store: bool) -> Way:
    """Return the way that webhooks take; its `open` opens the store.

    On SQLite, they are appended to an arrivals log, whether or not the store is available. While
    PostgreSQL is unavailable, they are kept in the spool; without one they are answered 503.
    """

    def open_store() -> Store:
        return store_of(settings, create=create_store)

    if (spool := settings.spool_file) is not None:
        # The spool needs time as well, before the webhook is answered 503.
        patience = min(_STORE_PATIENCE, settings.enqueue_timeout / 4)
        breaker = Breaker(open_store, observer, patience=patience)
        return SpooledStore(breaker, Spool(spool, observer), observer, patience=patience)
    store = open_store()
    if isinstance(store, SqliteStore):
        return LoggedStore(store, observer, old_spool=settings.unused_spool)
    return DirectStore(store)
