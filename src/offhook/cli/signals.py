"""Ctrl-C and SIGTERM, for servers: a request to end in good order, not an error."""

import asyncio
import signal
from collections.abc import Callable


def on_signals(act: Callable[[], None]) -> None:
    """Call `act` on the running loop at each SIGTERM and each Ctrl-C."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, act)
