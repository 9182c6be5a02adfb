"""The apps that the benchmarks serve."""

import asyncio
import time
from typing import Any

from offhook import Offhook

_HEADERS = [(b"content-type", b"text/xml"), (b"content-length", b"11")]


async def empty(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the body, answers the same, and does nothing else: the ceiling."""
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": _HEADERS})
    await send({"type": "http.response.body", "body": b"<Response/>"})


durable = Offhook(worker="external")

quick = Offhook()


@quick.message()
async def do_nothing() -> None:
    pass


waiting = Offhook()


@waiting.message()
async def wait_a_minute() -> None:
    await asyncio.sleep(60)


blocking = Offhook()


@blocking.message()
async def block_the_process() -> None:
    time.sleep(60)  # noqa: ASYNC251 - the mistake that must not delay answers


burning = Offhook()


@burning.message()
async def burn_the_processor() -> None:
    while True:
        pass
