"""A simulated Twilio on a thread of its own, for what runs an event loop itself."""

import asyncio
import threading
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

from offhook.twilio.simulator import Simulator
from offhook.twilio.simulator.serving import serving
from testing.twilio.helpers import Webhook, simulator
from testing.twilio.line import CREDENTIALS

T = TypeVar("T")
PATIENCE = 60.0  # seconds


@dataclass(slots=True)
class Twilio:
    """A running simulator.

    Attributes:
        url: of its REST API.
        webhook: a server that messages may be posted to, at `hooks`.
    """

    sim: Simulator
    url: str
    webhook: Webhook
    hooks: str
    loop: asyncio.AbstractEventLoop

    def run(self, coroutine: Coroutine[Any, Any, T]) -> T:
        """Run something on the simulator's loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result(PATIENCE)


@contextmanager
def twilio(**given: object) -> Iterator[Twilio]:
    """Run a simulator, and a webhook, within the context."""
    started, stop = threading.Event(), asyncio.Event()
    running: list[Twilio] = []

    async def serve() -> None:
        sim, webhook = simulator(**(CREDENTIALS._asdict() | given)), Webhook()
        async with (
            sim,
            sim.serve() as url,
            serving(webhook, host="127.0.0.1", port=0) as hooks,
        ):
            running.append(Twilio(sim, url, webhook, hooks, asyncio.get_running_loop()))
            started.set()
            await stop.wait()

    thread = threading.Thread(target=lambda: asyncio.run(serve()))
    thread.start()
    try:
        assert started.wait(PATIENCE)
        yield running[0]
    finally:
        running[0].loop.call_soon_threadsafe(stop.set)
        thread.join(PATIENCE)
