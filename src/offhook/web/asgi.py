"""Send answers over ASGI."""

import asyncio
from contextlib import suppress
from typing import Final

from starlette.types import Message, Receive, Send

from offhook.core.responses import CLIENT_CLOSED_REQUEST, Answer

LINGER_BYTES: Final = 1024 * 1024
LINGER_SECONDS: Final = 2.0


async def respond(send: Send, answer: Answer, unread: Receive | None = None) -> None:
    """Send an answer. A client that has gone is no error (ASGI 2.4 raises OSError for it).

    Args:
        send: of the request.
        answer: to it; that to a client which left while it was read is not sent.
        unread: `receive` of a request whose body is still being sent; the connection is then
            closed. A server that closes with data unread resets the connection, and the reset can
            overtake the answer (RFC 9112, 9.6). So the whole answer goes out first, and the
            response is ended when the client has finished or left, or after 1 MiB or 2 s.
    """
    if answer.status == CLIENT_CLOSED_REQUEST:
        return
    with suppress(OSError):
        await send(_start(answer))
        if unread is None:
            await send({"type": "http.response.body", "body": answer.body})
            return
        await send({"type": "http.response.body", "body": answer.body, "more_body": True})
        with suppress(TimeoutError):
            async with asyncio.timeout(LINGER_SECONDS):
                await _drain(unread)
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
