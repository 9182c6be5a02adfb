"""The apps that the benchmarks serve."""

import asyncio
import json
import os
import secrets
import time
from pathlib import Path
from typing import Any

from offhook import Message, Offhook

_HEADERS = [(b"content-type", b"text/xml"), (b"content-length", b"11")]


async def empty(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Reads the body, answers the same, and does nothing else: the ceiling."""
    await _always(scope, receive, send, status=200, headers=_HEADERS, body=b"<Response/>")


async def twilio(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Twilio's REST API, as fast as can be: each message is queued."""
    body = json.dumps({"sid": f"SM{secrets.token_hex(16)}", "status": "queued"}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await _always(scope, receive, send, status=201, headers=headers, body=body)


async def _always(
    scope: dict[str, Any], receive: Any, send: Any, *, status: int, headers: Any, body: bytes
) -> None:
    if scope["type"] == "lifespan":
        while (await receive())["type"] != "lifespan.shutdown":
            await send({"type": "lifespan.startup.complete"})
        await send({"type": "lifespan.shutdown.complete"})
        return
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


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


sometimes_fails = Offhook()


@sometimes_fails.message()
async def fail_once_in_a_hundred(message: Message) -> None:
    # The order's number is in the text: "Hello, is order 300 on its way?"
    if message.body.split()[3].endswith("00") and message.attempt == 1:
        raise RuntimeError("the first attempt of one in a hundred fails")


replying = Offhook()


@replying.message()
async def say_yes() -> str:
    return "Yes, it is on its way."


noting = Offhook()


@noting.message()
async def note_the_moment(message: Message) -> None:
    now = time.monotonic()  # one clock for all processes of a machine
    with Path(os.environ["BENCH_HANDLED"]).open("a", encoding="ascii") as file:  # noqa: ASYNC230
        file.write(f"{message.sid} {now}\n")
