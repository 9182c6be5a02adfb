"""The process of `offhook dev`: the bot, its worker, the simulated Twilio and the pages."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

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
from offhook.dev.control import ControlApi, TextSender
from offhook.dev.phone import PATH as PHONE
from offhook.dev.phone import Phone
from offhook.dev.session import Session
from offhook.errors import ConfigurationError
from offhook.observe.exposition import exposition
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.shared_counters import SharedCounters
from offhook.observe.system import SystemMonitor
from offhook.process.server import server_for, serving
from offhook.stores import opened
from offhook.stores.api import Filter, Inbox, Store
from offhook.stores.bulk import choose, messages
from offhook.twilio.simulator import Simulator
from offhook.web.health import METHODS
from offhook.web.local_only import LocalOnly, TokenAuth

# Seconds for running handlers at shutdown or reload. Interrupted ones resume at the next start.
_DRAIN = 1.0

_RETRIED = 1_000  # messages; the others are retried when they are due

# Not those on the machine's load, which on a developer's machine has other causes.
_RULES = tuple(rule for rule in RULES if rule.name not in {"cpu", "memory", "disk"})


@dataclass(frozen=True, slots=True)
class DevServer:
    """The running server.

    Attributes:
        texts: sends simulated texts.
        simulator: the simulated Twilio.
    """

    texts: TextSender
    simulator: Simulator
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


def configure(app: Offhook, session: Session, **settings: Any) -> None:
    """Configure an app for the simulated Twilio of a session, never the real one.

    The configured store, spool and cache are not used either: production's messages would be
    handled here, and their replies lost.
    """
    simulated = {
        "account_sid": session.credentials.account_sid,
        "auth_token": session.credentials.auth_token,
        "api_key": "",
        "api_key_secret": "",
        "sender": "",
        "twilio_api": session.url,
        "public_url": session.url,
        "store_direct": "",
        "spool": "",
        "cache": "memory://",
        "mount_path": "",  # served alone here
        "drain_timeout": _DRAIN,
    }
    store = {"store": f"sqlite:///{session.store}"} if session.store else {}
    # The worker is run beside the server, where its end is noticed.
    app.configure(worker="external", **{**store, **settings, **simulated})


@asynccontextmanager
async def dev_server(
    app: Offhook, listener: socket.socket, session: Session, memory: Path | None = None
) -> AsyncIterator[DevServer]:
    """Serve an app that was configured for the session, within the context.

    Args:
        app: the app.
        listener: the socket to serve it on.
        session: the session of this start.
        memory: the file that keeps the phone's conversations across reloads.

    Raises:
        ConfigurationError: the app can't start.
        StoreError: its store can't be used.
    """
    stop = asyncio.Event()
    async with (
        Simulator(
            account_sid=session.credentials.account_sid,
            auth_token=session.credentials.auth_token,
            webhook_url=session.webhook,
        ) as simulator,
        opened(app.settings) as store,
    ):
        simulator.rest_url = session.url
        await _retry_waiting(store)
        texts = TextSender(simulator, store)
        phone = Phone(simulator, store, url=session.url, token=session.token)
        monitor = _monitor(app, store)
        watch = AlertWatcher(monitor.snapshot, (), rules=_RULES)
        dashboard = Dashboard(
            lambda: store,
            monitor.snapshot,
            app.settings,
            alerts=lambda: watch.alerts,
            phone=PHONE,
        )
        app.observe(phone.hear)
        entrance = _Router(
            app,
            simulator.rest,
            ControlApi(texts, session.token).app,
            phone=phone.app,
            dashboard=TokenAuth(dashboard.app, session.token),
            metrics=_metrics(monitor),
        )
        async with (
            serving(
                server_for(entrance, drain=_DRAIN, webhooks=partial(webhooks_of, app)), listener
            ) as served,
            phone.listening(memory),
            dashboard.running(),
        ):
            working = asyncio.create_task(app.work(stop))
            watching = asyncio.create_task(watch.run(stop))
            try:
                yield DevServer(texts, simulator, frozenset({served, working}))
            finally:
                # The worker first: its last replies still need the simulator.
                stop.set()
                await asyncio.gather(working, watching, return_exceptions=True)


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


class _Router:
    """Route requests to the simulated Twilio, the control API, the pages, or the bot."""

    def __init__(
        self,
        app: ASGIApp,
        rest: ASGIApp,
        control: ASGIApp,
        *,
        phone: ASGIApp,
        dashboard: ASGIApp,
        metrics: ASGIApp,
    ) -> None:
        self._app = app
        self._others = {
            "/2010-04-01/": rest,
            "/v2/": rest,
            "/simulator/": control,
            PHONE: phone,
            "/dashboard": dashboard,
            "/design/": phone,
            "/metrics": metrics,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._choose(scope)(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        if scope["type"] == "http" and scope["path"] == "/" and scope["method"] in METHODS:
            return RedirectResponse(PHONE, HTTPStatus.SEE_OTHER)
        for prefix, other in self._others.items():
            if scope["type"] == "http" and scope["path"].startswith(prefix):
                return other
        return self._app
