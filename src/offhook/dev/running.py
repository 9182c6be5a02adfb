"""A bot that is developed: its server, its worker, a dashboard and metrics in one process."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from typing import Final

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from offhook import __version__
from offhook.admin import Dashboard
from offhook.admin.metrics import MetricsEndpoint
from offhook.alerts import RULES, AlertWatcher
from offhook.app import Offhook, webhooks_of
from offhook.arrivals.waiting import counts
from offhook.concurrency import done_before
from offhook.core.lifecycle import State
from offhook.dev.session import Session
from offhook.errors import ConfigurationError
from offhook.observe.exposition import exposition
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.shared_counters import SharedCounters
from offhook.observe.system import SystemMonitor
from offhook.process.server import server_for, serving
from offhook.stores.api import Filter, Inbox, Store
from offhook.stores.bulk import choose, messages
from offhook.web.health import METHODS
from offhook.web.local_only import LocalOnly, TokenAuth

DRAIN: Final = 1.0
"""Seconds for running handlers at shutdown or reload. Interrupted ones resume at the next start."""

_RETRIED: Final = 1_000  # messages; the others are retried when they are due

# Not those on the machine's load, which on a developer's machine has other causes.
_RULES: Final = tuple(rule for rule in RULES if rule.name not in {"cpu", "memory", "disk"})

Entrance = Callable[[ASGIApp, ASGIApp], ASGIApp]
"""Returns what is served, given the dashboard and the metrics endpoint."""


@dataclass(frozen=True, slots=True)
class Served:
    """A running server."""

    _parts: frozenset["asyncio.Task[None]"]

    async def run_until(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set.

        Raises:
            ConfigurationError: the server or the worker stopped by itself.
        """
        if await done_before(stop, *self._parts) and not stop.is_set():
            for part in self._parts:
                if part.done():
                    part.result()
            raise ConfigurationError("a part of the server stopped unexpectedly")


@asynccontextmanager
async def serving_bot(
    app: Offhook,
    listener: socket.socket,
    session: Session,
    store: Store,
    entrance: Entrance,
    *,
    phone: str = "",
) -> AsyncIterator[frozenset["asyncio.Task[None]"]]:
    """Serve an app beside its worker within the context; yield the tasks of both.

    Args:
        app: was configured for the session.
        listener: the socket to serve it on.
        session: the session of this start.
        store: the store of the app.
        entrance: makes what is served.
        phone: the path of the phone, for the dashboard; empty for none.
    """
    stop = asyncio.Event()
    await _retry_waiting(store)
    monitor = _monitor(app, store)
    watch = AlertWatcher(monitor.snapshot, (), rules=_RULES)
    dashboard = Dashboard(
        lambda: store, monitor.snapshot, app.settings, alerts=lambda: watch.alerts, phone=phone
    )
    served_app = entrance(TokenAuth(dashboard.app, session.token), _metrics(monitor))
    server = server_for(served_app, drain=DRAIN, webhooks=partial(webhooks_of, app))
    async with serving(server, listener) as served, dashboard.running():
        working = asyncio.create_task(app.work(stop))
        watching = asyncio.create_task(watch.run(stop))
        try:
            yield frozenset({served, working})
        finally:
            # The worker first: its last replies still need what else runs here.
            stop.set()
            await asyncio.gather(working, watching, return_exceptions=True)


class Router:
    """Route requests by the beginnings of their paths, and all others to the bot.

    Args:
        app: the bot.
        others: what else is served, by path.
        root: where `/` leads.
    """

    def __init__(self, app: ASGIApp, others: Mapping[str, ASGIApp], root: str) -> None:
        self._app = app
        self._others = others
        self._root = root

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass on a request, or the lifespan."""
        await self._choose(scope)(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in METHODS:
            return RedirectResponse(self._root, HTTPStatus.SEE_OTHER)
        for prefix, other in self._others.items():
            if scope["type"] == "http" and scope["path"].startswith(prefix):
                return other
        return self._app


async def _retry_waiting(inbox: Inbox) -> None:
    """Retry waiting messages at once: the change may have fixed the bot."""
    waiting = messages(inbox, Filter(state=State.WAITING, limit=_RETRIED))
    for id_ in (await choose(waiting)).ids:
        await inbox.replay(id_)


def _monitor(app: Offhook, store: Store) -> SystemMonitor:
    """Return the surveyor of an app that runs in this process."""
    counters = SharedCounters.alone()
    app.observe(PrometheusObserver(counters))
    return SystemMonitor({"dev-1": counters.memory}, partial(counts, store))


def _metrics(monitor: SystemMonitor) -> ASGIApp:
    """Return the metrics endpoint."""

    async def render(accept: str) -> tuple[bytes, str]:
        return exposition(await monitor.snapshot(), __version__, accept)

    return LocalOnly(MetricsEndpoint(render))
