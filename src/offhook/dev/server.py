"""The process of `offhook dev`: the bot, its worker, the simulated Twilio and the pages."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from starlette.types import ASGIApp

from offhook.app import Offhook
from offhook.dev.control import ControlApi, TextSender
from offhook.dev.phone import PATH as PHONE
from offhook.dev.phone import Phone
from offhook.dev.running import DRAIN, Router, Served, serving_bot
from offhook.dev.session import Session
from offhook.stores import opened
from offhook.twilio.simulator import Simulator


@dataclass(frozen=True, slots=True)
class DevServer(Served):
    """The running server.

    Attributes:
        texts: sends simulated texts.
        simulator: the simulated Twilio.
    """

    texts: TextSender
    simulator: Simulator


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
        "drain_timeout": DRAIN,
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
    async with (
        Simulator(
            account_sid=session.credentials.account_sid,
            auth_token=session.credentials.auth_token,
            webhook_url=session.webhook,
        ) as simulator,
        opened(app.settings) as store,
    ):
        simulator.rest_url = session.url
        texts = TextSender(simulator, store)
        phone = Phone(simulator, store, url=session.url, token=session.token)
        app.observe(phone.hear)

        def entrance(dashboard: ASGIApp, metrics: ASGIApp) -> ASGIApp:
            control = ControlApi(texts, session.token).app
            return _Router(
                app, simulator.rest, control, phone=phone.app, dashboard=dashboard, metrics=metrics
            )

        async with (
            phone.listening(memory),
            serving_bot(app, listener, session, store, entrance, phone=PHONE) as parts,
        ):
            yield DevServer(parts, texts, simulator)


class _Router(Router):
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
        others = {
            "/2010-04-01/": rest,
            "/v2/": rest,
            "/simulator/": control,
            PHONE: phone,
            "/dashboard": dashboard,
            "/design/": phone,
            "/metrics": metrics,
        }
        super().__init__(app, others, PHONE)
