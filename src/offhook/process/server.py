"""Servers, the way offhook wants uvicorn to be."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Final, Literal

import uvicorn
from starlette.types import ASGIApp

from offhook.errors import ConfigurationError
from offhook.ingress.connections import DEFAULT_BOUNDS, Bounds
from offhook.ingress.direct import Webhooks
from offhook.ingress.http_protocol import limited_http_protocol
from offhook.process.sockets import BACKLOG

# Load balancers keep idle connections for 60 s and more; the server must not close first,
# or a request on its way meets a closed connection.
_KEEP_ALIVE: Final = 75


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its program, which ends it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def server_for(
    app: ASGIApp,
    *,
    drain: float,
    lifespan: Literal["on", "off"] = "on",
    bounds: Bounds = DEFAULT_BOUNDS,
    webhooks: Callable[[], Webhooks | None] = lambda: None,
) -> Server:
    """Return a server for an app, yet to be given its sockets.

    Args:
        app: the application.
        drain: seconds that requests which have begun may take to end.
        lifespan: whether the application has one.
        bounds: of its connections.
        webhooks: as of `limited_http_protocol`.
    """
    config = uvicorn.Config(
        app,
        http=limited_http_protocol(bounds, webhooks),
        ws="none",
        lifespan=lifespan,
        log_config=None,
        access_log=False,  # a GET carries the message in its URL
        proxy_headers=False,  # whom to trust is OFFHOOK_TRUSTED_PROXIES' to say
        server_header=False,
        backlog=BACKLOG,
        timeout_keep_alive=_KEEP_ALIVE,
        timeout_graceful_shutdown=max(1, round(drain)),
    )
    return Server(config)


@asynccontextmanager
async def serving(server: Server, listener: socket.socket) -> AsyncIterator["asyncio.Task[None]"]:
    """Serve within the context, which is entered once the app has started.

    The task ends early only when the server does.

    Raises:
        ConfigurationError: the app's startup failed; the log says why.
    """
    task = asyncio.create_task(_serve(server, listener))
    try:
        while not server.started:
            done, _ = await asyncio.wait({task}, timeout=0.01)
            if done:
                await task
        yield task
    finally:
        server.should_exit = True
        await task


async def _serve(server: Server, listener: socket.socket) -> None:
    try:
        await server.serve(sockets=[listener])
    except SystemExit as error:  # uvicorn's way to say that the lifespan's startup failed
        raise ConfigurationError("the app could not start") from error
