"""Sockets and servers, the way offhook wants uvicorn to be."""

import asyncio
import errno
import ipaddress
import logging
import signal
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import Any, Final, Literal

import uvicorn
from starlette.types import ASGIApp

from offhook.errors import ConfigurationError
from offhook.ingress.connections import DEFAULT_BOUNDS, Bounds
from offhook.ingress.direct import Webhooks
from offhook.ingress.http_protocol import limited_http_protocol


def on_signals(act: Callable[[], None]) -> None:
    """Call `act` on the running loop at each SIGTERM and each Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, act)


BACKLOG: Final = 2048
"""Connections that wait in the kernel while all processes are busy or being replaced."""

# Load balancers keep idle connections for 60 s and more; the server must not close first,
# or a request on its way meets a closed connection.
_KEEP_ALIVE: Final = 75


class Server(uvicorn.Server):
    """A uvicorn server that leaves signals to its program, which ends it."""

    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Capture none."""
        yield


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: an address of this machine, or a name for one.
        port: 0 for any that is free.

    Raises:
        ConfigurationError: the address is in use, not of this machine, or not allowed.
    """
    try:
        return bound(host, port)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(_why_not(host, port, error)) from error


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket, as `listen` does; raises what the system does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")  # noqa: PLR2004 - IPv6
    return f"http://[{address}]:{port}" if ":" in str(address) else f"http://{address}:{port}"


def is_public(listener: socket.socket) -> bool:
    """Return whether other machines may reach a socket."""
    return not ipaddress.ip_address(listener.getsockname()[0]).is_loopback


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


def run_loop(main: Callable[[], Any]) -> Any:
    """Run a coroutine function on the fastest event loop that is installed."""
    with asyncio.Runner(loop_factory=_loop_factory()) as runner:
        return runner.run(main())


def _loop_factory() -> Callable[[], asyncio.AbstractEventLoop]:
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        logging.getLogger(__name__).debug("uvloop is not installed: asyncio's own loop is used")
        return asyncio.new_event_loop
    return uvloop.new_event_loop


def _why_not(host: str, port: int, error: OSError | UnicodeError) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"port {port} is in use: stop what listens there, or choose another with --port"
        case errno.EACCES:
            return f"port {port} needs more rights: choose one above 1023 with --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine: check --host"
        case _:
            return f"can't listen on {host}:{port}: {error}"
