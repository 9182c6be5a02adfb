"""One process with everything in it: the bot, its worker, and a simulated Twilio."""

import asyncio
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.types import ASGIApp, Receive, Scope, Send

from offhook.app import Offhook
from offhook.cli.control import Control, Desk
from offhook.cli.listening import server_for, serving
from offhook.cli.session import Session
from offhook.cli.stores import opened
from offhook.errors import ConfigurationError
from offhook.twilio.simulator import Simulator

# Seconds for what has begun, when the server ends or reloads. It goes on at the next start.
_DRAIN = 1.0


@dataclass(frozen=True, slots=True)
class DevServer:
    """What runs.

    Attributes:
        desk: where texts are ordered.
        simulator: the simulated Twilio.
    """

    desk: Desk
    simulator: Simulator
    _parts: frozenset["asyncio.Task[None]"]

    async def run_until(self, stop: asyncio.Event) -> None:
        """Return when `stop` is set.

        Raises:
            ConfigurationError: the server or the worker has ended by itself.
        """
        waiting = asyncio.create_task(stop.wait())
        done, _ = await asyncio.wait({waiting, *self._parts}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if waiting not in done:
            for part in done:
                part.result()
            raise ConfigurationError("a part of the server has ended by itself")


def configure(app: Offhook, session: Session, **settings: Any) -> None:
    """Have an app talk to the simulated Twilio of a session, never to the real one."""
    simulated = {
        "account_sid": session.credentials.account_sid,
        "auth_token": session.credentials.auth_token,
        "api_key": "",
        "api_key_secret": "",
        "sender": "",
        "twilio_api": session.url,
        "public_url": session.url,
        "mount_path": "",  # served alone here
        "drain_timeout": _DRAIN,
    }
    # The worker is run beside the server, where its end is noticed.
    app.configure(worker="external", **{**settings, **simulated})


@asynccontextmanager
async def dev_server(
    app: Offhook, listener: socket.socket, session: Session
) -> AsyncIterator[DevServer]:
    """Serve an app that was configured for the session, within the context.

    Raises:
        ConfigurationError: the app can't start.
        StoreError: its store can't be used.
    """
    stop = asyncio.Event()
    async with (
        Simulator(
            account_sid=session.credentials.account_sid,
            auth_token=session.credentials.auth_token,
            webhook_url=f"{session.url}/twilio/messages",
        ) as simulator,
        opened(app.settings.store) as store,
    ):
        desk = Desk(simulator, store)
        entrance = _Entrance(app, simulator.rest, Control(desk, session.token).app)
        async with serving(server_for(entrance, drain=_DRAIN), listener) as served:
            working = asyncio.create_task(app.work(stop))
            try:
                yield DevServer(desk, simulator, frozenset({served, working}))
            finally:
                # The worker first: its last replies still find the simulator.
                stop.set()
                await asyncio.gather(working, return_exceptions=True)


class _Entrance:
    """Leads a request to the simulated Twilio, the control API, or the bot."""

    def __init__(self, app: ASGIApp, rest: ASGIApp, control: ASGIApp) -> None:
        self._app = app
        self._others = {"/2010-04-01/": rest, "/simulator/": control}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self._choose(scope)(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        for prefix, other in self._others.items():
            if scope["type"] == "http" and scope["path"].startswith(prefix):
                return other
        return self._app
