"""`python -m offhook.bench.empty_server`: a server that only answers, for the ceiling."""

import asyncio
import sys
from typing import Any, Final

_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n<Response/>"
)


class Empty(asyncio.Protocol):
    """Answers each request alike, once its body is there."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Take a connection."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Take a part of a request."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        length = int(head.rpartition(b"Content-Length: ")[2] or 0) if found else 0
        if found and len(body) >= length:
            self._buffer = b""
            self._transport.write(_ANSWER)
            if b"Connection: close" in head:
                self._transport.close()


async def serve() -> None:
    """Serve until stdin ends; the port is told on stdout."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Empty, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - read by who started it
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Serve on the fastest loop there is."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())


if __name__ == "__main__":
    main()
