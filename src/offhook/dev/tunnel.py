"""`offhook dev --tunnel-url`: a bot with a real number, while it is developed."""

import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.types import ASGIApp

from offhook.app import Offhook
from offhook.dev.running import DRAIN, Router, Served, serving_bot
from offhook.dev.session import Session
from offhook.settings import SignaturePolicy
from offhook.stores import opened
from offhook.web.design import PATH as DESIGN
from offhook.web.design import Assets
from offhook.web.local_only import LocalOnly

_DASHBOARD = "/dashboard"


def configure(app: Offhook, session: Session) -> None:
    """Configure an app for a real account behind a tunnel, with a store of its own.

    The configured store, spool and cache are not used: production's messages would be handled here.

    Raises:
        SettingsError: the credentials of the account are not set.
    """
    app.configure(
        worker="external",  # run beside the server, where its end is noticed
        public_url=session.tunnel,
        signature=SignaturePolicy.REQUIRED,
        store=f"sqlite:///{session.store}",
        store_direct="",
        spool="",
        cache="memory://",
        mount_path="",
        drain_timeout=DRAIN,
    )
    app.settings.require("account_sid", "auth_token")


@asynccontextmanager
async def tunnel_server(
    app: Offhook, listener: socket.socket, session: Session
) -> AsyncIterator[Served]:
    """Serve an app that was configured for the session, within the context.

    The dashboard is for browsers on this machine: what comes through the tunnel does not reach it.

    Raises:
        ConfigurationError: the app can't start.
        StoreError: its store can't be used.
    """

    def entrance(dashboard: ASGIApp, metrics: ASGIApp) -> ASGIApp:
        design = Starlette(routes=[Mount(DESIGN, LocalOnly(Assets()))])
        others: dict[str, ASGIApp] = {
            _DASHBOARD: dashboard,
            f"{DESIGN}/": design,
            "/metrics": metrics,
        }
        return Router(app, others, _DASHBOARD)

    async with (
        opened(app.settings) as store,
        serving_bot(app, listener, session, store, entrance) as parts,
    ):
        yield Served(parts)
