"""Write answers: in few pieces, and made beforehand."""

import asyncio
from typing import Any

from offhook.core.responses import Answer, encode


class AnswerBytes:
    """Answers as they go over the wire, each made once in a second: uvicorn renews the date."""

    def __init__(self) -> None:
        self._fields: object = None
        self._made: dict[bool, dict[Answer, bytes]] = {}

    def get(self, answer: Answer, fields: list[tuple[bytes, bytes]], *, close: bool) -> bytes:
        """Return an answer's bytes.

        Args:
            answer: one of those that are made once.
            fields: uvicorn's default headers; it makes another list when they change.
            close: as of `core.responses.encode`.
        """
        if fields is not self._fields:
            self._fields, self._made = fields, {False: {}, True: {}}
        made = self._made[close]
        data = made.get(answer)
        if data is None:
            data = made[answer] = encode(answer, fields, close=close)
        return data


class CoalescingTransport:
    """A transport that joins what is written in one turn of the loop into one write.

    uvicorn writes an answer's head and body separately, and uvloop gives each to the kernel at
    once. A write to a socket costs 4 us of system time, and each wakes the client
    (docs/decisions/0015-hot-path.md).

    Args:
        transport: of the connection.
        loop: of the transport.
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

    def write_whole(self, data: bytes) -> None:
        """Send at once what nothing will be added to, behind what is held."""
        if self._held:
            self._held.append(data)
            self._flush()
        else:
            self._transport.write(data)

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
