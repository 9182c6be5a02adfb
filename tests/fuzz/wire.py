"""A client that sends shots over sockets to a server of which it knows nothing."""

import asyncio
import random
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from http.client import parse_headers
from io import BytesIO

from offhook.core.responses import REFUSED
from tests.fuzz.shots import Gun, Shot

PATIENCE = 1.0
"""Seconds for an answer to what may be half a request. The server waits for longer."""

_VERSION = b"HTTP/1.1 "

STATUSES = {reason.value: answer.status for reason, answer in REFUSED.items()}


class Client:
    """Fires shots, many connections at once.

    Attributes:
        answers: by status and error; (0, "") is none.
        signed: the SIDs of all that was signed.
        acknowledged: those of shots that went out as they were signed, and were answered 200.
    """

    def __init__(self, port: int, gun: Gun) -> None:
        self._port = port
        self._gun = gun
        self.answers: Counter[tuple[int, str]] = Counter()
        self.signed: set[str] = set()
        self.acknowledged: set[str] = set()

    async def fire(self, numbers: range, at_once: int) -> None:
        left = iter(numbers)
        async with asyncio.TaskGroup() as group:
            for _ in range(at_once):
                group.create_task(self._fire(left))

    async def _fire(self, numbers: Iterator[int]) -> None:
        for number in numbers:
            shot, dice = self._gun.shot(number), self._gun.dice(number)
            self.signed.add(shot.sid)
            try:
                answers = await self._exchange(shot, dice)
            except AssertionError as error:
                raise AssertionError(f"shot {number}: {error}: {shot!r}") from error
            for answer in answers or [(0, "")]:
                self.answers[answer] += 1
            if shot.intact and answers and answers[0][0] in {200, 204}:
                self.acknowledged.add(shot.sid)

    async def _exchange(self, shot: Shot, dice: random.Random) -> list[tuple[int, str]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        data = shot.wire() if shot.intact else _disturbed(shot.wire(), dice)
        try:
            for piece in _pieces(data, dice):
                writer.write(piece)
                await writer.drain()
            return await _answers(reader)
        except ConnectionError:  # it has been closed while we were sending
            return []
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def _disturbed(data: bytes, dice: random.Random) -> bytes:
    """Return what goes over the wire: seldom what was meant, and sometimes twice."""
    match dice.randrange(12):
        case 0:
            return data[: dice.randrange(len(data) + 1)]
        case 1:
            return data + data
        case 2:
            at = dice.randrange(len(data))
            return data[:at] + dice.randbytes(dice.randrange(20)) + data[at:]
        case 3:
            return data.replace(b"\r\n", b"\n")
        case 4:
            head, _, body = data.partition(b"\r\n\r\n")
            return head + b"\r\ntransfer-encoding: chunked\r\n\r\n5\r\n" + body
        case _:
            return data


def _pieces(data: bytes, dice: random.Random) -> list[bytes]:
    if dice.random() < 0.8:
        return [data]
    at = dice.randrange(len(data) + 1)
    return [data[:at], data[at:]]


async def _answers(reader: asyncio.StreamReader) -> list[tuple[int, str]]:
    """Return the answers that come, in a moment."""
    data = b""
    with suppress(TimeoutError, ConnectionError):
        while not reader.at_eof():
            async with asyncio.timeout(0.001 if data else PATIENCE):
                data += await reader.read(65_536)
    # No body of ours holds the line that begins an answer: so one to a HEAD, which has a length and
    # no body, can be told from the next.
    before, *answers = data.split(_VERSION)
    assert not before, data
    return [_answer(answer) for answer in answers if b"\r\n\r\n" in answer]


def _answer(answer: bytes) -> tuple[int, str]:
    head, _, body = answer.partition(b"\r\n\r\n")
    line, _, rest = head.partition(b"\r\n")
    status, headers = int(line.split()[0]), parse_headers(BytesIO(rest + b"\r\n\r\n"))
    assert len(body) <= int(headers.get("content-length", "0")), answer
    error = headers.get("x-offhook-error", "")
    if error:
        assert STATUSES[error] == status, answer
    else:
        assert status in {100, 200, 204}, answer
    return status, error
