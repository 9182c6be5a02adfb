"""The process that `offhook dev` restarts on each change."""

import argparse
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from offhook.app import Offhook
from offhook.dev import server, tunnel
from offhook.dev.broken import write_report
from offhook.dev.running import Served
from offhook.dev.session import Session, error_file, snapshot_file
from offhook.dev.transcript import Transcript
from offhook.errors import OffhookError
from offhook.observe.redaction import printable
from offhook.process import loading
from offhook.process.app_loader import AppName
from offhook.process.child import Lifeline
from offhook.process.event_loop import run_loop, stop_on_sigterm
from offhook.process.log_setup import configure_for_development, log_startup_warnings
from offhook.terminal import console


def main() -> None:
    """Serve the app that the arguments name until it is signalled to stop."""
    parser = argparse.ArgumentParser(prog="offhook.dev.child")
    parser.add_argument("app")
    parser.add_argument("--session", type=Path, required=True)
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--lifeline", type=int, required=True)
    given = parser.parse_args()
    try:
        session = Session.read(given.session)
        app = loaded(AppName.parse(given.app, Path.cwd()), session)
        run_loop(lambda: _live(app, session, given))
    except OffhookError as error:
        write_report(error_file(given.session), error)
        print(f"offhook: {printable(str(error))}", file=sys.stderr)  # noqa: T201 - may be before any log
        sys.exit(1)


def loaded(name: AppName, session: Session) -> Offhook:
    """Load an app, configured for a session; and log what may be wrong with it.

    Raises:
        ConfigurationError: it can't be loaded, or its settings are wrong.
    """
    app = name.load()
    if session.tunnel:
        tunnel.configure(app, session)
    else:
        server.configure(app, session)
    configure_for_development(app.settings, transcript=not session.tunnel)
    log_startup_warnings(app.settings, app.handlers)
    loading.end()
    return app


@asynccontextmanager
async def serving(
    app: Offhook, listener: socket.socket, session: Session, memory: Path | None = None
) -> AsyncIterator[Served]:
    """Serve an app within the context: with the simulated Twilio, or the real one.

    Args:
        app: was loaded for the session.
        listener: the socket to serve it on.
        session: the session of this start.
        memory: the file that keeps the phone's conversations across reloads.

    Raises:
        ConfigurationError: the app can't start.
        StoreError: its store can't be used.
    """
    if session.tunnel:
        async with tunnel.tunnel_server(app, listener, session) as served:
            yield served
        return
    async with server.dev_server(app, listener, session, memory) as simulated:
        with simulated.simulator.listening(Transcript(console())):
            yield simulated


async def _live(app: Offhook, session: Session, given: argparse.Namespace) -> None:
    stop = stop_on_sigterm()
    lifeline = Lifeline(given.lifeline)
    lifeline.on_disconnect(stop.set)
    listener = socket.socket(fileno=given.listener)
    async with serving(app, listener, session, snapshot_file(given.session)) as served:
        lifeline.ready()
        await served.run_until(stop)
