"""Saying an answer in ASGI."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive, Send

from offhook.core.answers import Answer

LINGER_BYTES: Final = 1024 * 1024
LINGER_SECONDS: Final = 2.0


async def respond(send: Send, answer: Answer) -> None:
    """Send an answer. A client that is gone is no error (ASGI 2.4 raises OSError for it)."""
    with suppress(OSError):
        await send(_start(answer))
        await send({"type": "http.response.body", "body": answer.body})


async def respond_unread(send: Send, receive: Receive, answer: Answer) -> None:
    """Send an answer to a request whose body is still on its way, then close.

    A server that closes with data unread resets the connection, and the reset can overtake the
    answer (RFC 9112, 9.6). So the whole answer goes out first, and the response is ended, which
    closes the connection, when the client has finished or left, or after 1 MiB or 2 s.
    """
    with suppress(OSError):
        await send(_start(answer))
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _drain(receive)
        await send({"type": "http.response.body", "body": b""})


def _start(answer: Answer) -> Message:
    # A list of its own: middleware of a host application adds to it in place.
    headers = list(answer.headers)
    return {"type": "http.response.start", "status": answer.status, "headers": headers}


async def _drain(receive: Receive) -> None:
    left = LINGER_BYTES
    while left > 0:
        message = await receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            return
        left -= len(message.get("body", b""))
