"""The protocol answers what the ASGI application answers under plain uvicorn, byte for byte."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offhook.core.signature import sign
from testing.webhooks import (
    MESSAGE,
    PUBLIC,
    STATUS,
    TOKEN,
    Fields,
    Line,
    Reply,
    changed,
    encoded,
    line,
    request,
)
from tests.fuzz.shots import Gun, Shot
from tests.ingress.test_bad_input import BAD, Send

# What plain uvicorn adds: its name always, and the date, which may be that of another second. Our
# servers leave their name out.
_OF_THE_SERVER = (b"date:", b"server:")

_UVICORNS_OWN = b"Invalid HTTP request received."
"""What uvicorn answers to what is no HTTP; the protocol has an answer of its own for it."""


class Recorder(Line):
    """Keeps what is answered, as it came."""

    recorded: bytes = b""

    async def exchange(self, data: bytes) -> Reply:
        reply = await super().exchange(data)
        self.recorded = b"%b%b closed: %d" % (_without(reply.head), reply.body, reply.closed)
        return reply

    async def fire(self, shot: Shot) -> bytes:
        """Send what may be no request at all, and return the first answer; none for nothing."""
        async with self.connection() as (reader, writer):
            writer.write(shot.wire())
            try:
                head = await reader.readuntil(b"\r\n\r\n")
                size = re.search(rb"content-length: (\d+)", head)
                body = b""
                if size is not None and shot.method != b"HEAD":
                    body = await reader.readexactly(int(size[1]))
            except (asyncio.IncompleteReadError, ConnectionError):
                return b""
            return _without(head) + body


def _without(data: bytes) -> bytes:
    lines = data.split(b"\r\n")
    return b"\r\n".join([one for one in lines if not one.lower().startswith(_OF_THE_SERVER)])


@asynccontextmanager
async def both(path: Path, **given: Any) -> AsyncIterator[tuple[Recorder, Recorder]]:
    (path / "asgi").mkdir()
    (path / "protocol").mkdir()
    async with (
        line(path / "asgi", **given) as one,
        line(path / "protocol", shell="protocol", **given) as other,
    ):
        yield Recorder(one.port, one.store, one.told), Recorder(other.port, other.store, other.told)


def post(fields: Fields = MESSAGE, target: str = "/twilio/messages", **headers: str) -> Send:
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return lambda to: to.post(target, fields, headers=given)


def get(to: Line) -> Awaitable[Reply]:
    target = f"/twilio/messages?{encoded(MESSAGE).decode()}"
    headers = {"X-Twilio-Signature": sign(url=PUBLIC + target, auth_token=TOKEN)}
    return to.exchange(request("GET", target, b"", headers))


def raw(data: bytes) -> Send:
    return lambda to: to.exchange(data)


ORDINARY: list[tuple[str, Send]] = [
    ("a message", post()),
    ("a status", post(STATUS, "/twilio/status")),
    ("a status with a query", post(STATUS, "/twilio/status?send=17")),
    ("a query that is empty", post(target="/twilio/messages?")),
    ("a repeat", post()),
    ("a message as a GET", get),
    ("the last of a connection", post(Connection="close")),
    ("what is expected", post(Expect="something else")),
    ("a header twice", post(changed(MESSAGE, MessageSid="SM" + "9" * 32), X_A="1\r\nX-A: 2")),
    ("an escaped path", post(target="/twilio/%6Dessages")),
    ("a health check", raw(b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n")),
    ("HTTP/1.0", raw(b"GET /readyz HTTP/1.0\r\n\r\n")),
    ("no host", raw(b"POST /twilio/messages HTTP/1.1\r\nContent-Length: 0\r\n\r\n")),
    ("a host that is none", post(Host="a/b")),
    ("two hosts", post(Host="a\r\nHost: b")),
    ("an empty host", post(Host="")),
    ("another version", raw(b"POST /twilio/messages HTTP/2.0\r\nHost: a\r\n\r\n")),
    ("another path", post(target="/twilio/messages/")),
    ("a path in full", raw(b"POST http://a/twilio/status HTTP/1.1\r\nHost: a\r\n\r\n")),
    (
        "a fragment",
        raw(b"POST /twilio/status?a#b HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"),
    ),
    ("no body", raw(b"POST /twilio/status HTTP/1.1\r\nHost: a\r\n\r\n")),
    ("an upgrade", post(Connection="upgrade", Upgrade="h2c")),
]
REQUESTS = [*ORDINARY, *((name, send) for name, send, _, _ in BAD)]


@pytest.mark.parametrize("send", [one for _, one in REQUESTS], ids=[name for name, _ in REQUESTS])
async def test_both_answer_the_same(tmp_path: Path, send: Send) -> None:
    async with both(tmp_path) as (asgi, protocol):
        for _ in range(2):  # the second time it may be a repeat
            await asyncio.gather(send(asgi), send(protocol))
            assert asgi.recorded
            assert protocol.recorded == asgi.recorded
        assert await _stored(protocol) == await _stored(asgi)


async def test_both_answer_the_same_to_what_nobody_has_written(tmp_path: Path) -> None:
    gun = Gun(3)
    async with both(tmp_path, body_timeout=0.5) as (asgi, protocol):
        for number in range(400):
            shot = gun.shot(number)
            one, other = await asyncio.gather(asgi.fire(shot), protocol.fire(shot))
            if _UVICORNS_OWN not in one:
                assert other == one, f"shot {number}: {shot!r}"
        assert await _stored(protocol) == await _stored(asgi)
        assert await _stored(protocol)


async def _stored(where: Line) -> list[tuple[str, bytes]]:
    return sorted((record.sid, record.form) for record in await where.stored())
