"""The event loop of a process, and the signals that it takes."""

import asyncio
import logging
import signal
from collections.abc import Callable
from typing import Any


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


def on_signals(act: Callable[[], None]) -> None:
    """Call `act` on the running loop at each SIGTERM and each Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, act)


def stop_on_sigterm() -> asyncio.Event:
    """Return an event that SIGTERM sets.

    Ctrl-C reaches all processes of a terminal; a child ignores it and waits for its parent.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    # Not SIG_IGN: processes that handlers start would inherit it.
    loop.add_signal_handler(signal.SIGINT, lambda: None)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})  # see `Child.start`
    return stop
