"""Serve a machine's admin address. Started by `offhook.process.child`, not as a command."""

import argparse
import asyncio
import os
import socket
import sys

from offhook import __version__
from offhook.admin.service import Admin
from offhook.concurrency import wait_first
from offhook.errors import OffhookError
from offhook.observe.log import LogObserver
from offhook.observe.redaction import printable
from offhook.observe.shared_counters import inherited
from offhook.process import loading
from offhook.process.child import Lifeline
from offhook.process.event_loop import run_loop, stop_on_sigterm
from offhook.process.log_setup import configure
from offhook.process.server import server_for, serving
from offhook.settings import Settings

_DRAIN = 1.0  # seconds for requests under way; scrapers and browsers retry


def main() -> None:
    """Serve until SIGTERM, with the settings read from the standard input."""
    parser = argparse.ArgumentParser(prog="offhook.process.admin_main")
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--listener", type=int, required=True)
    parser.add_argument("--counters", nargs=2, action="append", default=[], metavar=("NAME", "FD"))
    given = parser.parse_args()
    try:
        settings = Settings.from_json(sys.stdin.buffer.read())
        configure(settings)
        os.nice(settings.worker_nice)
        loading.end()
        run_loop(lambda: _serve(settings, given))
    except OffhookError as error:
        print(f"offhook admin: {printable(str(error))}", file=sys.stderr)  # noqa: T201 - may be before any log
        sys.exit(1)


async def _serve(settings: Settings, given: argparse.Namespace) -> None:
    stop = stop_on_sigterm()
    lifeline = Lifeline(given.lifeline)
    lifeline.on_disconnect(stop.set)
    counters = {name: inherited(int(descriptor)) for name, descriptor in given.counters}
    admin = Admin(settings, LogObserver(), version=__version__, counters=counters)
    server = server_for(admin.asgi, drain=_DRAIN, lifespan="off")
    async with serving(server, socket.socket(fileno=given.listener)) as served:
        lifeline.ready()
        running = asyncio.create_task(admin.run(stop))
        await wait_first(served, running)
        stop.set()
        await running
