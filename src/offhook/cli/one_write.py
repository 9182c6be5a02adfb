"""An answer leaves in one piece: its head and its body in one write, and one packet."""

import asyncio
from typing import Any


class OneWrite:
    """A transport that holds what is written until the end of the loop's turn, then sends it all.

    uvicorn writes an answer's head and its body apart, and uvloop gives each to the kernel at once.
    A write to a socket costs 4 us of system time, and the client is woken for each
    (docs/decisions/0015-hot-path.md).

    Args:
        transport: the connection's.
        loop: it belongs to.
    """

    def __init__(self, transport: Any, loop: asyncio.AbstractEventLoop) -> None:
        self._transport = transport
        self._loop = loop
        self._held: list[bytes] = []
        self.is_closing = transport.is_closing
        self.get_extra_info = transport.get_extra_info
        self.pause_reading = transport.pause_reading
        self.resume_reading = transport.resume_reading

    def write(self, data: bytes) -> None:
        """Send with whatever else is written in this turn."""
        if not self._held:
            self._loop.call_soon(self._flush)
        self._held.append(data)

    def write_eof(self) -> None:
        """Send what is held, then the end."""
        self._flush()
        self._transport.write_eof()

    def close(self) -> None:
        """Send what is held, then close."""
        self._flush()
        self._transport.close()

    def abort(self) -> None:
        """Close at once."""
        self._held.clear()
        self._transport.abort()

    def _flush(self) -> None:
        if self._held:
            data = b"".join(self._held)
            self._held.clear()
            if not self._transport.is_closing():
                self._transport.write(data)
