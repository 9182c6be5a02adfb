"""The admin process: metrics, dashboard and alerts. It serves no webhooks and loads no bot."""

import asyncio
import mmap
from collections.abc import Mapping
from contextlib import AbstractAsyncContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from starlette.types import ASGIApp

from offhook.admin import PATH, Dashboard
from offhook.admin.login import Login
from offhook.admin.routes import admin_routes
from offhook.alerts import AlertWatcher, to_log
from offhook.arrivals.waiting import counts, spooled
from offhook.errors import StoreError, StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.observe.exposition import exposition
from offhook.observe.system import SystemMonitor
from offhook.settings import Settings
from offhook.stores import store_of
from offhook.stores.api import Counts, Store
from offhook.stores.availability import wait_until_available
from offhook.web.allowed_hosts import admin_hosts
from offhook.web.design import PATH as DESIGN

if TYPE_CHECKING:
    from offhook.alerts.webhook import AlertWebhook


class Admin:
    """Serves the admin address. `asgi` serves `http` scopes while `run` runs.

    Args:
        settings: of the app.
        observer: called when the store becomes unavailable.
        version: of offhook.
        counters: of the processes of the machine, by their names.
    """

    def __init__(
        self,
        settings: Settings,
        observer: Observer,
        *,
        version: str,
        counters: Mapping[str, mmap.mmap],
    ) -> None:
        self._settings = settings
        self._token = settings.dashboard_token.get_secret_value()
        self._observer = observer
        self._version = version
        self._store: Store | None = None
        # Only ingresses write to a spool.
        ingress = any(name.startswith("ingress") for name in counters)
        spool = settings.spool_file if ingress else None
        self.monitor = SystemMonitor(
            counters,
            self._counts,
            own="admin-1",
            disks=_disks(settings),
            spooled=None if spool is None else lambda: spooled(spool),
        )
        self._webhook = _webhook(settings, observer)
        tell = (to_log(observer), self._webhook) if self._webhook else (to_log(observer),)
        self.watch = AlertWatcher(self.monitor.snapshot, tell)
        self._dashboard = Dashboard(
            lambda: self.store, self.monitor.snapshot, settings, alerts=lambda: self.watch.alerts
        )
        self.asgi: ASGIApp = admin_routes(
            ready=self._ready,
            metrics=self._metrics,
            hosts=admin_hosts(settings),
            pages=self._pages(),
        )

    @property
    def store(self) -> Store:
        """The store.

        Raises:
            StoreUnavailable: it has not been opened yet.
        """
        if self._store is None:
            raise StoreUnavailable("the store has not been opened yet")
        return self._store

    async def run(self, stop: asyncio.Event) -> None:
        """Serve until `stop` is set; open the store as soon as it is available."""
        async with self._pages_served(), asyncio.TaskGroup() as group:
            posting = group.create_task(self._webhook.run()) if self._webhook else None
            group.create_task(self.watch.run(stop))
            group.create_task(self._keep_store(stop))
            await stop.wait()
            if posting is not None:
                posting.cancel()

    async def _keep_store(self, stop: asyncio.Event) -> None:
        try:
            self._store = await wait_until_available(
                lambda: store_of(self._settings, create=False),
                stop,
                self._observer,
                "its metrics are unavailable",
            )
        except StoreError as error:  # a newer offhook's: those who need it say more
            self._observer(
                Problem(Topic.STORE_UNAVAILABLE, f"its metrics are unavailable: {error}")
            )
        try:
            await stop.wait()
        finally:
            if self._store is not None:
                await self._store.close()

    def _pages_served(self) -> AbstractAsyncContextManager[None]:
        return self._dashboard.running() if self._token else nullcontext()

    def _pages(self) -> Mapping[str, ASGIApp]:
        """Return the dashboard's pages; none without OFFHOOK_DASHBOARD_TOKEN."""
        if not self._token:
            return {}
        access = Login(self._dashboard.app, self._token, self._dashboard.render)
        return {PATH: access, f"{DESIGN}/": access}

    async def _ready(self) -> bool:
        await self.store.check()
        return True

    async def _metrics(self, accept: str) -> tuple[bytes, str]:
        alerts = [(alert.name, alert.level) for alert in self.watch.alerts]
        return exposition(await self.monitor.snapshot(), self._version, accept, alerts=alerts)

    async def _counts(self) -> Counts:
        return await counts(self.store)


def _webhook(settings: Settings, observer: Observer) -> "AlertWebhook | None":
    url = settings.alert_webhook.get_secret_value()
    if not url:
        return None
    # Imported on demand: most have none, and it imports an HTTP client.
    from offhook.alerts.webhook import AlertWebhook  # noqa: PLC0415

    return AlertWebhook(url, settings.alert_secret.get_secret_value(), observer)


def _disks(settings: Settings) -> dict[str, Path]:
    """Return the directories of the store and the spool, if they are files."""
    places = {"store": settings.store_file, "spool": settings.spool_file}
    return {what: path.parent for what, path in places.items() if path is not None}
