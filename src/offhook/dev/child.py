"""The process that `offhook dev` restarts on each change."""

import argparse
import socket
import sys
from pathlib import Path

from offhook.app import Offhook
from offhook.dev.broken import write_report
from offhook.dev.server import configure, dev_server
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
        app = AppName.parse(given.app, Path.cwd()).load()
        configure(app, session)
        configure_for_development(app.settings)
        log_startup_warnings(app.settings, app.handlers)
        loading.end()
        run_loop(lambda: _live(app, session, given))
    except OffhookError as error:
        write_report(error_file(given.session), error)
        print(f"offhook: {printable(str(error))}", file=sys.stderr)  # noqa: T201 - may be before any log
        sys.exit(1)


async def _live(app: Offhook, session: Session, given: argparse.Namespace) -> None:
    stop = stop_on_sigterm()
    lifeline = Lifeline(given.lifeline)
    lifeline.on_disconnect(stop.set)
    listener = socket.socket(fileno=given.listener)
    memory = snapshot_file(given.session)
    async with dev_server(app, listener, session, memory) as server:
        with server.simulator.listening(Transcript(console())):
            lifeline.ready()
            await server.run_until(stop)
