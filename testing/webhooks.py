"""A real server with a real store behind it, and requests as Twilio makes them."""

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from http.client import parse_headers
from io import BytesIO
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlencode

import uvicorn
from starlette.types import ASGIApp

from offhook.arrivals.direct import reading
from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.core.responses import Answer
from offhook.core.signature import sign
from offhook.events import Answered, Event, Problem
from offhook.ingress.direct import Webhooks
from offhook.ingress.reading import Reader
from offhook.ingress.reception import Reception
from offhook.ingress.routes import routes
from offhook.process.server import server_for
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.stores.api import Filter, Record, Store

TOKEN = "d41d8cd98f00b204e9800998ecf8427e"
ACCOUNT = "AC" + "1" * 32
SID = "SM" + "2" * 32
PUBLIC = "https://bot.example.com"
FORM = "application/x-www-form-urlencoded"
TWIML = b'<?xml version="1.0" encoding="UTF-8"?><Response/>'

PATIENT = {"signature_timeout": 60.0, "enqueue_timeout": 60.0, "body_timeout": 60.0}
"""Settings with which a busy machine refuses nothing for being slow."""

Fields = Sequence[tuple[str, str]]

Shell = Literal["asgi", "protocol"]
"""What answers a webhook: the ASGI application under a server as users have it, or our protocol."""

# The order and the blank values of a captured inbound SMS.
MESSAGE: Fields = (
    ("ToCountry", "US"), ("ToState", "CA"), ("SmsMessageSid", SID), ("NumMedia", "0"),
    ("ToCity", ""), ("FromZip", ""), ("SmsSid", SID), ("FromState", ""), ("SmsStatus", "received"),
    ("FromCity", ""), ("Body", "Grüße & 100 % Ölsäcke + 1"), ("FromCountry", "US"),
    ("To", "+14155550100"), ("ToZip", ""), ("NumSegments", "1"), ("MessageSid", SID),
    ("AccountSid", ACCOUNT), ("From", "+14155550199"), ("ApiVersion", "2010-04-01"),
)  # fmt: skip

STATUS: Fields = (
    ("SmsSid", SID), ("SmsStatus", "delivered"), ("MessageStatus", "delivered"),
    ("To", "+14155550199"), ("MessageSid", SID), ("AccountSid", ACCOUNT),
    ("From", "+14155550100"), ("ApiVersion", "2010-04-01"),
)  # fmt: skip


def changed(fields: Fields, **changes: str | None) -> Fields:
    """Return the fields with some values replaced or added, or removed where None is given."""
    kept = [(name, changes.get(name, value)) for name, value in fields]
    new = [(name, value) for name, value in changes.items() if name not in dict(fields)]
    return tuple((name, value) for name, value in [*kept, *new] if value is not None)


def named(fields: Fields, sid: str | None) -> Fields:
    """Return a message's fields with another SID under all of its names, or none."""
    return changed(fields, MessageSid=sid, SmsMessageSid=sid, SmsSid=sid)


def encoded(fields: Fields) -> bytes:
    return urlencode(fields).encode()


def settings(**given: Any) -> Settings:
    defaults = {"auth_token": TOKEN, "account_sid": ACCOUNT, "public_url": PUBLIC, **PATIENT}
    return Settings.load(env_file=None, **(defaults | given))


@dataclass(frozen=True, slots=True)
class Reply:
    status: int
    headers: dict[str, str]
    body: bytes
    closed: bool = False
    head: bytes = b""

    @property
    def error(self) -> str:
        return self.headers.get("x-offhook-error", "")


@dataclass(slots=True)
class Line:
    """A running server.

    Attributes:
        told: what the observer was told and nobody has looked at yet; an answer's event comes
            after the answer, so tests wait for it.
    """

    port: int
    store: Store
    told: asyncio.Queue[Answered] = field(default_factory=asyncio.Queue)
    problems: list[Problem] = field(default_factory=list)

    @property
    def base(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    async def answered(self) -> Answered:
        return await asyncio.wait_for(self.told.get(), 60)

    async def stored(self) -> Sequence[Record]:
        return await self.store.find(Filter())

    def observe(self, event: Event) -> None:
        match event:
            case Answered():
                self.told.put_nowait(event)
            case Problem():
                self.problems.append(event)

    async def post(
        self,
        target: str = "/twilio/messages",
        fields: Fields = MESSAGE,
        *,
        signed: Fields | None = None,
        url: str | None = None,
        headers: dict[str, str] | None = None,
    ) -> Reply:
        """Post a form, signed for `url` (by default the public one) and its own fields."""
        target_signature = sign(
            url=url or PUBLIC + target,
            params=fields if signed is None else signed,
            auth_token=TOKEN,
        )
        given = {"Content-Type": FORM, "X-Twilio-Signature": target_signature, **(headers or {})}
        return await self.exchange(request("POST", target, encoded(fields), given))

    async def exchange(self, data: bytes) -> Reply:
        """Send bytes as they are and read one answer."""
        async with self.connection() as (reader, writer):
            writer.write(data)
            return await read_reply(reader)

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[tuple[asyncio.StreamReader, asyncio.StreamWriter]]:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            yield reader, writer
        finally:
            writer.close()
            with suppress(ConnectionError):
                await writer.wait_closed()


def request(method: str, target: str, body: bytes, headers: dict[str, str]) -> bytes:
    """Return a request as it goes over the wire."""
    given = {"Host": "127.0.0.1", "Content-Length": str(len(body)), **headers}
    lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in given.items())]
    return "\r\n".join([*lines, "", ""]).encode() + body


async def _has_ended(reader: asyncio.StreamReader) -> bool:
    """Return whether nothing more comes; what a client still writes resets the connection."""
    try:
        return await reader.read() == b""
    except ConnectionResetError:
        return True


async def read_reply(reader: asyncio.StreamReader) -> Reply:
    async with asyncio.timeout(60):
        whole = await reader.readuntil(b"\r\n\r\n")
        head = BytesIO(whole)
        status = int(head.readline().split()[1])
        headers = {name.lower(): value for name, value in parse_headers(head).items()}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        closing = headers.get("connection") == "close"
        closed = closing and await _has_ended(reader)
        return Reply(status, headers, body, closed, whole)


class _Server(uvicorn.Server):
    @contextmanager
    def capture_signals(self) -> Iterator[None]:
        """Leave signals to the tests."""
        yield


@asynccontextmanager
async def served(
    app: ASGIApp, *, root_path: str = "", webhooks: Webhooks | None = None
) -> AsyncIterator[int]:
    """Serve an application under plain uvicorn; with `webhooks`, as `offhook run` does.

    Yield its port.
    """
    listener = socket.create_server(("127.0.0.1", 0))
    config = uvicorn.Config(
        app,
        http="httptools",
        lifespan="off",
        log_config=None,
        access_log=False,
        proxy_headers=False,
        root_path=root_path,
        timeout_graceful_shutdown=1,
    )
    server: uvicorn.Server = _Server(config)
    if webhooks is not None:
        server = server_for(app, drain=1.0, lifespan="off", webhooks=lambda: webhooks)
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield listener.getsockname()[1]
    finally:
        server.should_exit = True
        await serving
        listener.close()


@asynccontextmanager
async def line(
    path: Path,
    *,
    mounted: Callable[[ASGIApp], ASGIApp] = lambda app: app,
    root_path: str = "",
    shell: Shell = "asgi",
    **given: Any,
) -> AsyncIterator[Line]:
    """Run the webhooks' routes with a store in `path`."""
    store = open_store(f"sqlite:///{path}/offhook.db")
    await store.open()
    running = Line(0, store)
    chosen = settings(**given)

    async def ready() -> bool:
        await store.find(Filter(limit=1))
        return True

    reception = Reception(reading(store.accept), chosen, running.observe)
    app = mounted(routes(reception, chosen, ready=ready))
    try:
        webhooks = Webhooks(reception, Reader(chosen)) if shell == "protocol" else None
        async with served(app, root_path=root_path, webhooks=webhooks) as port:
            running.port = port
            yield running
    finally:
        await store.close()


async def answered(reception: Reception, request: Request) -> Answer:
    """Answer a request as a server does."""
    outcome = await reception.receive(request)
    reception.report(outcome)
    return outcome.answer


async def refused(running: Line, reply: Awaitable[Reply], status: int, error: str) -> Answered:
    """Check that a request is refused by name, told once, stored nowhere, and hurts nobody."""
    got = await reply
    assert (got.status, got.error, got.body) == (status, error, TWIML)
    assert got.headers["content-type"] == "text/xml"
    told = await running.answered()
    assert (told.status, told.error) == (status, error)
    assert await running.stored() == []
    assert (await running.post()).status == 200
    assert (await running.answered()).kind is Kind.MESSAGE
    assert running.told.empty()
    assert running.problems == []
    return told
