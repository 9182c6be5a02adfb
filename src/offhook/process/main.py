"""Run one role, as a child process of `offhook run`, `ingress` or `worker`.

Started by `offhook.process.child`, not as a command: a child loads neither Typer nor rich.
"""

import argparse
import asyncio
import gc
import os
import socket
import sys
from functools import partial
from importlib import import_module
from pathlib import Path

from offhook.app import Offhook, webhooks_of
from offhook.concurrency import done_before
from offhook.errors import OffhookError
from offhook.ingress.connections import Bounds
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.redaction import printable
from offhook.observe.shared_counters import SharedCounters
from offhook.process import loading
from offhook.process.app_loader import AppName
from offhook.process.child import Lifeline, exit_status
from offhook.process.event_loop import run_loop, stop_on_sigterm
from offhook.process.log_setup import configure
from offhook.process.plan import Role

# The thresholds of the three generations (CPython: 700, 10, 10). Collecting took 6 % of a webhook's
# CPU time (docs/decisions/0015-hot-path.md).
_GC_THRESHOLDS = (10_000, 20, 50)
_HEARTBEAT_INTERVAL = 1.0  # seconds; far below the supervisor's timeout


def main() -> None:
    """Run the role that the arguments name, and exit."""
    given = _arguments()
    try:
        app = AppName.parse(given.app, Path.cwd()).load()
        app.configure(create_store=not given.no_create_store)
        configure(app.settings)
        if given.role is Role.WORKER:
            import_module("offhook.worker.role")
            loading.end()
        if given.counters >= 0:
            app.observe(PrometheusObserver(SharedCounters.inherited(given.counters)))
        run_loop(lambda: _run_role(app, given))
    except OffhookError as error:
        print(f"offhook {given.role}: {printable(str(error))}", file=sys.stderr)  # noqa: T201 - may be before any log
        sys.exit(exit_status(error))


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="offhook.process.main")
    parser.add_argument("role", type=Role)
    parser.add_argument("app")
    parser.add_argument("--lifeline", type=int, required=True)
    parser.add_argument("--listener", type=int, default=-1)
    parser.add_argument("--owner", default="")
    parser.add_argument("--counters", type=int, default=-1)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--no-create-store", action="store_true")
    return parser.parse_args()


async def _run_role(app: Offhook, given: argparse.Namespace) -> None:
    stop = stop_on_sigterm()
    lifeline = Lifeline(given.lifeline)
    lifeline.on_disconnect(stop.set)
    match given.role:
        case Role.INGRESS:
            await _serve_ingress(app, socket.socket(fileno=given.listener), lifeline, stop)
        case Role.WORKER:
            os.nice(given.nice)
            await _run_worker(app, given.owner, lifeline, stop)


async def _serve_ingress(
    app: Offhook, listener: socket.socket, lifeline: Lifeline, stop: asyncio.Event
) -> None:
    from offhook.process.server import server_for, serving  # noqa: PLC0415 - no worker needs uvicorn

    app.configure(worker="external")
    settings = app.settings
    server = server_for(
        app,
        drain=settings.drain_timeout,
        bounds=Bounds(settings.max_connections),
        webhooks=partial(webhooks_of, app),
    )
    async with serving(server, listener) as served:
        _tune_garbage_collector()
        lifeline.ready()
        await done_before(stop, served)


def _tune_garbage_collector() -> None:
    """Exclude what is loaded from garbage collection, and collect less often.

    A request creates hundreds of objects and no cycles; the validation cache keeps some of them,
    which the default thresholds would scan again and again.
    """
    gc.collect()
    loading.end()
    gc.set_threshold(*_GC_THRESHOLDS)


async def _run_worker(app: Offhook, owner: str, lifeline: Lifeline, stop: asyncio.Event) -> None:
    # On the loop that runs the handlers, so that heartbeats stop when a handler blocks it.
    heartbeats = asyncio.create_task(_send_heartbeats(lifeline))
    try:
        await app.work(stop, owner=owner, on_ready=lifeline.ready)
    finally:
        heartbeats.cancel()


async def _send_heartbeats(lifeline: Lifeline) -> None:
    while True:
        lifeline.beat()
        await asyncio.sleep(_HEARTBEAT_INTERVAL)
