"""No connection is given more memory or time than a request needs, however many there are."""

import asyncio
import logging
import resource
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from offhook.ingress.connections import Bounds
from offhook.ingress.http_protocol import limited_http_protocol
from offhook.ingress.request_limits import BLANK_BYTES, HEAD_BYTES, HEADERS, PIPELINED
from offhook.process.server import server_for, serving
from offhook.process.sockets import listen
from testing.webhooks import TWIML, Reply, read_reply, request

PATIENCE = 30.0
LARGE = 1_000_000
LARGE_GET = b"GET /large HTTP/1.1\r\nHost: a\r\n\r\n"
PATIENT = Bounds(1000, head_timeout=PATIENCE)
HASTY = Bounds(1000, head_timeout=1.0)
GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"


class App:
    """Answers every request once `go` is set; `/unread` at once, whatever else is sent.

    What `/large` answers is more than a connection holds that is not read.

    Attributes:
        headers: of the last request, as they are once its body has been read.
    """

    def __init__(self) -> None:
        self.served = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self.left = asyncio.Event()
        self.begun = asyncio.Event()
        self.done = asyncio.Event()
        self.go = asyncio.Event()
        self.go.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            while (await receive())["type"] != "lifespan.shutdown":
                await send({"type": "lifespan.startup.complete"})
            await send({"type": "lifespan.shutdown.complete"})
            return
        self.served += 1
        self.begun.set()
        while scope["path"] != "/unread":
            message = await receive()
            if message["type"] == "http.disconnect":
                self.left.set()
                return
            if not message["more_body"]:
                break
        await self.go.wait()
        self.headers = list(scope["headers"])
        parts = [bytes(LARGE)] * 10 if scope["path"] == "/large" else [b"ok"]
        headers = [(b"content-length", b"%d" % sum(map(len, parts)))]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for part in parts:
            await send({"type": "http.response.body", "body": part, "more_body": True})
            await asyncio.sleep(0)
        await send({"type": "http.response.body", "body": b""})
        self.done.set()


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def send(self, data: bytes) -> None:
        with suppress(ConnectionError, RuntimeError):  # uvloop's, where the transport is closed
            self.writer.write(data)
            await self.writer.drain()

    async def flood(self, begin: bytes, more: bytes) -> None:
        """Send without an end, until the server has closed the connection."""
        await self.send(begin)
        while not self.writer.is_closing():
            await self.send(more)
            await asyncio.sleep(0)

    async def reply(self) -> Reply:
        return await read_reply(self.reader)

    async def rest(self) -> int:
        """Read until the server has ended the connection; return how many bytes have come."""
        size = 0
        with suppress(ConnectionError):
            while got := await self.reader.read(LARGE):
                size += len(got)
        return size

    async def closed(self) -> bool:
        """Wait until the server has ended the connection; return whether it said nothing."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                return await self.reader.read() == b""
        return True


class Server:
    def __init__(self, uvicorn: Any, port: int, app: App, stack: AsyncExitStack) -> None:
        self.app = app
        self._uvicorn = uvicorn
        self._port = port
        self._stack = stack

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self._port)
        self._stack.callback(writer.close)
        return Client(reader, writer)

    def is_timed(self) -> bool:
        """Return whether the one connection is cut off if nothing more comes."""
        (protocol,) = self._uvicorn.server_state.connections
        return protocol._timer is not None

    async def answers(self) -> bool:
        """Return whether somebody who comes now is served."""
        client = await self.client()
        await client.send(GET)
        return (await client.reply()).status == 200


@asynccontextmanager
async def served(bounds: Bounds) -> AsyncIterator[Server]:
    app = App()
    server = server_for(app, drain=1.0, bounds=bounds)
    with listen("127.0.0.1", 0) as listener:
        async with serving(server, listener), AsyncExitStack() as stack:
            yield Server(server, listener.getsockname()[1], app, stack)


@asynccontextmanager
async def running(bounds: Bounds = PATIENT) -> AsyncIterator[Server]:
    async with asyncio.timeout(2 * PATIENCE), served(bounds) as server:
        yield server


def refused(reply: Reply, status: int, error: str) -> None:
    assert (reply.status, reply.error, reply.body) == (status, error, TWIML)
    assert reply.headers["content-type"] == "text/xml"
    assert reply.headers["connection"] == "close"


TOO_LARGE = [
    b"GET /" + b"a" * HEAD_BYTES + b" HTTP/1.1\r\nHost: a\r\n\r\n",
    b"GET / HTTP/1.1\r\nCookie: " + b"a" * HEAD_BYTES + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * (HEADERS + 1) + b"\r\n",
    b"GET / HTTP/1.1\r\n" + (b"a" * 1000 + b": " + b"b" * 1000 + b"\r\n") * 40 + b"\r\n",
    b"GET / HTTP/1.1\r\nCookie: " + b"a" * HEAD_BYTES,  # half a header
    b"GET /" + b"a" * HEAD_BYTES,
]


@pytest.mark.parametrize("data", TOO_LARGE, ids=range(len(TOO_LARGE)))
async def test_a_head_that_is_too_large_is_refused(data: bytes) -> None:
    async with running() as server:
        client = await server.client()
        await client.send(data)
        await client.send(b"a" * 10)  # a byte more than the limit, whatever came in which chunk
        refused(await client.reply(), 431, "head-too-large")
        assert server.app.served == 0
        assert await server.answers()


async def test_a_head_as_large_as_a_get_of_twilio_can_be_is_served() -> None:
    async with running() as server:
        client = await server.client()
        target = b"/?Body=" + b"%F0%9F%98%80" * 1600
        for _ in range(5):  # the count begins anew with each
            await client.send(b"GET " + target + b" HTTP/1.1\r\n" + b"a: b\r\n" * 90 + b"\r\n")
            assert (await client.reply()).status == 200


async def test_bodies_are_the_applications_to_bound() -> None:
    async with running() as server:
        client = await server.client()
        for _ in range(2):
            await client.send(request("POST", "/", b"a" * 10 * HEAD_BYTES, {}))
            assert (await client.reply()).status == 200


CHUNKED = b"POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
AROUND = {
    "trailers": (b"2\r\nhi\r\n0\r\n", b"a: b\r\n"),
    "long trailers": (b"0\r\n", b"a: " + b"b" * 1000 + b"\r\n"),
    "a trailer": (b"0\r\na: ", b"b" * 100),
    "a trailer's name": (b"0\r\n", b"a" * 100),
    "an extension": (b"2;", b"a" * 100),
    "a size": (b"", b"0" * 100),
    "crumbs": (b"", b"1\r\nx\r\n"),
}


@pytest.mark.parametrize("pieces", [100, 5000])
@pytest.mark.parametrize(("begin", "more"), AROUND.values(), ids=AROUND)
async def test_what_stands_around_a_body_is_bounded(begin: bytes, more: bytes, pieces: int) -> None:
    async with running() as server:
        client = await server.client()
        flooding = asyncio.create_task(client.flood(CHUNKED + begin, more * pieces))
        refused(await client.reply(), 400, "framing-too-large")
        assert await client.closed()
        await flooding
        assert await server.answers()


@pytest.mark.parametrize(("begin", "more"), AROUND.values(), ids=AROUND)
async def test_so_is_what_stands_around_a_body_that_nobody_reads(begin: bytes, more: bytes) -> None:
    async with running() as server:
        client = await server.client()
        head = CHUNKED.replace(b"/", b"/unread", 1)
        await client.send(head + begin)
        assert (await client.reply()).status == 200
        await client.flood(b"", more * 1000)
        assert await client.closed()
        assert await server.answers()


async def test_a_trailer_is_no_header() -> None:
    async with running() as server:
        client = await server.client()
        body = b"2\r\nhi\r\n0\r\nX-Twilio-Signature: a\r\nHost: b\r\n\r\n"
        for pieces in ((CHUNKED + body,), (CHUNKED, body), (CHUNKED + body[:20], body[20:])):
            for piece in pieces:
                await client.send(piece)
                await asyncio.sleep(0.01)
            assert (await client.reply()).status == 200
            assert server.app.headers == [(b"host", b"a"), (b"transfer-encoding", b"chunked")]


async def test_a_body_in_many_chunks_is_read() -> None:
    async with running() as server:
        client = await server.client()
        for _ in range(2):  # the count begins anew with each
            chunks = (b"40;a=b\r\n" + b"x" * 64 + b"\r\n") * 1024
            await client.send(CHUNKED + chunks + b"0\r\n\r\n")
            assert (await client.reply()).status == 200


async def test_blank_lines_before_a_request_are_bounded_in_bytes_and_time() -> None:
    async with running(HASTY) as server:
        for blank in (b"\r\n", b"\n"):
            client = await server.client()
            await client.send(blank * (BLANK_BYTES + 1))
            refused(await client.reply(), 400, "malformed-request")
        client = await server.client()

        async def drip() -> None:
            while not client.reader.at_eof():
                await client.send(b"\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await client.closed()
        await cancelled(dripping)
        assert await server.answers()


async def test_who_does_not_read_the_answer_makes_room() -> None:
    async with running(Bounds(1, head_timeout=PATIENCE)) as server:
        client = await server.client()
        await client.send(LARGE_GET)
        await server.app.begun.wait()
        while not await server.answers():  # noqa: ASYNC110 - until what a connection holds is full
            await asyncio.sleep(0.01)


async def test_who_does_not_read_the_answer_is_cut_off() -> None:
    async with running(HASTY) as server:
        client = await server.client()
        await client.send(LARGE_GET)
        await server.app.done.wait()
        assert await client.rest() < 10 * LARGE


async def test_who_reads_slowly_has_it_all() -> None:
    async with running(Bounds(1000, head_timeout=2.0)) as server:
        client = await server.client()
        await client.send(LARGE_GET)
        await client.reader.readuntil(b"\r\n\r\n")
        for _ in range(100):
            await client.reader.readexactly(LARGE // 10)
            await asyncio.sleep(0.025)
        await client.send(GET)
        assert (await client.reply()).status == 200


async def test_what_is_no_http_is_refused_by_name(caplog: pytest.LogCaptureFixture) -> None:
    async with running() as server:
        for data in (
            b"\x16\x03\x01\x02\x00\x01",
            b"GET nothing\r\n\r\n",
            b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n",
            b"GET / HTTP/1.1\r\na\r\n\r\n",
        ):
            client = await server.client()
            await client.send(data)
            refused(await client.reply(), 400, "malformed-request")
        assert await server.answers()
        assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def cancelled(dripping: "asyncio.Task[None]") -> None:
    """End a task that sends: a connection that was reset has no end of file to be found."""
    dripping.cancel()
    with suppress(asyncio.CancelledError):
        await dripping


async def test_a_head_that_comes_slowly_is_cut_off() -> None:
    async with running(HASTY) as server:
        client = await server.client()

        async def drip() -> None:
            await client.send(b"GET / HTTP/1.1\r\n")
            while not client.reader.at_eof():
                await client.send(b"a: b\r\n")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        refused(await client.reply(), 408, "head-timeout")
        assert await client.closed()
        await cancelled(dripping)
        assert await server.answers()


async def test_a_body_that_nobody_wants_can_not_be_dripped_for_ever() -> None:
    async with running(HASTY) as server:
        client = await server.client()
        await client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n")
        assert (await client.reply()).status == 200

        async def drip() -> None:
            while not client.reader.at_eof():
                await client.send(b"a")
                await asyncio.sleep(0.02)

        dripping = asyncio.create_task(drip())
        assert await client.closed()
        await cancelled(dripping)


async def test_who_sends_a_body_that_was_not_read_may_ask_again() -> None:
    async with running() as server:
        client = await server.client()
        await client.send(b"POST /unread HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n12")
        assert (await client.reply()).status == 200
        await client.send(b"3")
        while not server.is_timed():  # noqa: ASYNC110 - until it has come
            await asyncio.sleep(0)
        await client.send(b"4")
        while server.is_timed():  # noqa: ASYNC110 - the body is complete
            await asyncio.sleep(0)
        await client.send(b"\r\n\r\n" + GET)  # blank lines before a request are allowed
        assert (await client.reply()).status == 200


async def test_requests_that_are_sent_ahead_are_bounded() -> None:
    async with running() as server:
        server.app.go.clear()
        some = await server.client()
        await some.send(GET * PIPELINED)
        many = await server.client()
        await many.send(GET * 10_000)
        refused(await many.reply(), 400, "malformed-request")
        server.app.go.set()
        assert [(await some.reply()).status for _ in range(PIPELINED)] == [200] * PIPELINED
        assert server.app.served < 3 * PIPELINED


async def test_who_is_silent_makes_room_for_who_speaks(caplog: pytest.LogCaptureFixture) -> None:
    async with running(Bounds(8, head_timeout=PATIENCE)) as server:
        silent = [await server.client() for _ in range(5)]
        halting = await server.client()
        await halting.send(b"GET / HTTP/1.1\r\n")
        kept = await server.client()
        for _ in range(3):  # the server has accepted whoever came before
            await kept.send(GET)
            assert (await kept.reply()).status == 200
        for _ in range(6):
            assert await server.answers()
        told = [one.getMessage() for one in caplog.records if one.name == "offhook"]
        assert ["OFFHOOK_MAX_CONNECTIONS" in one for one in told] == [True], "told once"
        assert all([await one.closed() for one in silent])
        await kept.send(GET)
        assert (await kept.reply()).status == 200, "it has been waited for for a shorter time"


async def test_a_body_that_does_not_come_makes_room_too() -> None:
    async with running(Bounds(2, head_timeout=PATIENCE)) as server:
        stalling = await server.client()
        await stalling.send(b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9\r\n\r\n")
        await server.app.begun.wait()
        for _ in range(3):
            assert await server.answers()
        await server.app.left.wait()
        assert await stalling.closed()


async def test_while_all_are_being_served_one_more_is_refused_and_none_cut() -> None:
    async with running(Bounds(2, head_timeout=PATIENCE)) as server:
        server.app.go.clear()
        busy = []
        for _ in range(2):
            server.app.begun.clear()
            busy.append(await server.client())
            await busy[-1].send(GET)
            await server.app.begun.wait()
        more = await server.client()
        refused(await more.reply(), 503, "too-many-connections")
        server.app.go.set()
        assert [(await one.reply()).status for one in busy] == [200, 200]
        assert await server.answers()


def test_connections_are_no_more_than_files_may_be_open(monkeypatch: pytest.MonkeyPatch) -> None:
    endless = resource.RLIM_INFINITY
    for soft, hard, raised, connections in (
        (10_000, 10_000, None, 1000),
        (endless, endless, None, 1000),
        (1024, 4096, (1064, 4096), 1000),
        (1024, endless, (1064, endless), 1000),
        (100, 100, (100, 100), 36),
        (8, 8, (8, 8), 1),
    ):
        set_to: list[tuple[int, int]] = []
        monkeypatch.setattr(resource, "getrlimit", lambda _kind, both=(soft, hard): both)
        monkeypatch.setattr(resource, "setrlimit", lambda _kind, both, to=set_to: to.append(both))
        limits = limited_http_protocol(Bounds(1000)).args[0]  # type: ignore[attr-defined]
        assert limits.bounds.connections == connections
        assert set_to == ([] if raised is None else [raised])
