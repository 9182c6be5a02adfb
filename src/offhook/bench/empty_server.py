"""`python -m offhook.bench.empty_server`: answer every request with a fixed response."""

import asyncio
import sys
from typing import Any, Final

_ANSWER: Final = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/xml\r\nContent-Length: 11\r\n\r\n<Response/>"
)


class EmptyServer(asyncio.Protocol):
    """Answer each request with the same response, once its body is complete."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._buffer = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the transport."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Read a part of a request."""
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        length = int(head.rpartition(b"Content-Length: ")[2] or 0) if found else 0
        if found and len(body) >= length:
            self._buffer = b""
            self._transport.write(_ANSWER)
            if b"Connection: close" in head:
                self._transport.close()


async def serve() -> None:
    """Print the port on stdout, and serve until stdin ends."""
    loop = asyncio.get_running_loop()
    server = await loop.create_server(EmptyServer, "127.0.0.1", 0, backlog=2048)
    print(server.sockets[0].getsockname()[1], flush=True)  # noqa: T201 - read by the parent process
    await loop.run_in_executor(None, sys.stdin.read)
    server.close()


def main() -> None:
    """Serve on uvloop where it is installed."""
    try:
        import uvloop  # noqa: PLC0415 - not on every platform
    except ImportError:
        asyncio.run(serve())
    else:
        uvloop.run(serve())


if __name__ == "__main__":
    main()
