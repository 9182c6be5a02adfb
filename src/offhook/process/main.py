"""What a child process of `offhook run` or `offhook dev` does: one role, until told to end.

Started as `python -m offhook.process.main`, not as a command: a child loads neither Typer nor rich.
"""

import argparse
import asyncio
import gc
import os
import signal
import socket
import sys
from pathlib import Path

from offhook.app import Offhook
from offhook.concurrency import done_before
from offhook.errors import OffhookError
from offhook.ingress.http_protocol import Bounds
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.redaction import printable
from offhook.observe.shared_counters import SharedCounters
from offhook.process.app_loader import AppName
from offhook.process.child import Lifeline
from offhook.process.exit_codes import exit_status
from offhook.process.log_setup import configure
from offhook.process.plan import Role
from offhook.process.server import run_loop, server_for, serving

# Objects, then rounds, then rounds of rounds (CPython: 700, 10, 10). 6 % of a webhook's CPU time
# went into looking (docs/decisions/0015-hot-path.md).
_COLLECT_AFTER = (10_000, 20, 50)
_BEAT = 1.0  # seconds; a small part of what the supervisor waits


def main() -> None:
    """Be what the arguments say, and exit."""
    given = _arguments()
    try:
        app = AppName.parse(given.app, Path.cwd()).load()
        app.configure(create_store=not given.store_is_there)
        configure(app.settings)
        if given.sheet >= 0:
            app.observe(PrometheusObserver(SharedCounters.inherited(given.sheet)))
        run_loop(lambda: _live(app, given))
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
    parser.add_argument("--sheet", type=int, default=-1)
    parser.add_argument("--nice", type=int, default=0)
    parser.add_argument("--store-is-there", action="store_true")
    return parser.parse_args()


async def _live(app: Offhook, given: argparse.Namespace) -> None:
    stop = until_told()
    lifeline = Lifeline(given.lifeline)
    lifeline.when_cut(stop.set)
    match given.role:
        case Role.INGRESS:
            await _answer(app, socket.socket(fileno=given.listener), lifeline, stop)
        case Role.WORKER:
            os.nice(given.nice)
            await _work(app, given.owner, lifeline, stop)


def until_told() -> asyncio.Event:
    """Return an event that SIGTERM sets. Ctrl-C reaches all processes of a terminal, and a child
    leaves it to its parent.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Not SIG_IGN: what handlers start would inherit that.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see `Child.start`
    return stop


async def _answer(
    app: Offhook, listener: socket.socket, lifeline: Lifeline, stop: asyncio.Event
) -> None:
    app.configure(worker="external")
    settings = app.settings
    server = server_for(app, drain=settings.drain_timeout, bounds=Bounds(settings.max_connections))
    async with serving(server, listener) as served:
        _rest_collector()
        lifeline.beat()
        await done_before(stop, served)


def _rest_collector() -> None:
    """Have the garbage collector leave what was loaded alone, and look at the rest less often.

    A request makes no cycles of its own, but hundreds of objects, of which the validation cache
    keeps a few: CPython's own pace looks at all of them time and again.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*_COLLECT_AFTER)


async def _work(app: Offhook, owner: str, lifeline: Lifeline, stop: asyncio.Event) -> None:
    # The sign of life comes from the loop that runs the handlers: what the supervisor looks for
    # is that this one moves.
    beating = asyncio.create_task(_beat(lifeline))
    try:
        await app.work(stop, owner=owner)
    finally:
        beating.cancel()


async def _beat(lifeline: Lifeline) -> None:
    while True:
        lifeline.beat()
        await asyncio.sleep(_BEAT)


if __name__ == "__main__":
    main()
