"""Real servers for the other end of a connection: one that records, and ones that misbehave."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

from starlette.types import Message, Receive, Scope, Send

from offhook.core.forms import Form, decode_form
from offhook.twilio.simulator import Simulator
from offhook.twilio.simulator.serving import serving

EMPTY_TWIML = b"<Response/>"


@dataclass(frozen=True, slots=True)
class Requested:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def form(self) -> Form:
        return decode_form(self.body)

    @property
    def signature(self) -> str:
        return self.headers["x-twilio-signature"]


@dataclass(slots=True)
class Webhook:
    """An ASGI application that records requests and answers as it is told.

    Attributes:
        answers: status, content type and body of the next answers; the last one stays.
        headers: added to each answer.
        gate: requests are recorded, then wait for it.
    """

    answers: list[tuple[int, str, bytes]] = field(
        default_factory=lambda: [(200, "text/xml", EMPTY_TWIML)]
    )
    headers: dict[str, str] = field(default_factory=dict)
    gate: asyncio.Event | None = None
    requests: list[Requested] = field(default_factory=list)
    _arrival: asyncio.Condition = field(default_factory=asyncio.Condition)

    async def received(self, count: int) -> None:
        """Wait until so many requests have come."""
        async with self._arrival:
            await self._arrival.wait_for(lambda: len(self.requests) >= count)

    def open(self) -> None:
        """Let the requests that wait be answered."""
        if self.gate is not None:
            self.gate.set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        query = f"?{scope['query_string'].decode()}" if scope["query_string"] else ""
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        body = await _body(receive)
        target = scope["raw_path"].decode() + query
        async with self._arrival:
            self.requests.append(Requested(scope["method"], target, headers, body))
            self._arrival.notify_all()
        if self.gate is not None:
            await self.gate.wait()
        status, kind, content = self.answers.pop(0) if self.answers[1:] else self.answers[0]
        given = {"content-type": kind, "content-length": str(len(content)), **self.headers}
        raw = [(name.encode(), value.encode()) for name, value in given.items()]
        await send({"type": "http.response.start", "status": status, "headers": raw})
        await send({"type": "http.response.body", "body": content})


async def _body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        event: Message = await receive()
        body += event.get("body", b"")
        if not event.get("more_body"):
            return bytes(body)


@asynccontextmanager
async def webhook_of(
    simulator: Simulator, path: str = "/twilio/messages", webhook: Webhook | None = None
) -> AsyncIterator[Webhook]:
    """Serve a webhook and let the simulator post to it."""
    webhook = webhook or Webhook()
    async with serving(webhook, host="127.0.0.1", port=0) as base:
        simulator.webhook_url = base + path
        yield webhook


def simulator(**given: object) -> Simulator:
    account_sid, auth_token = Simulator.credentials()
    defaults = {"account_sid": account_sid, "auth_token": auth_token, "status_delay": 0.001}
    return Simulator(**(defaults | given))  # type: ignore[arg-type]  # a test's own arguments


Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def raw_server(handler: Handler) -> AsyncIterator[str]:
    """Serve raw TCP; `handler` is called once the head and body of a request have been read."""
    tasks: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        if task is not None:
            tasks.add(task)
        try:
            await handler(reader, writer)
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def read_request(reader: asyncio.StreamReader) -> bytes:
    """Read one request to its end; return its head."""
    head = await reader.readuntil(b"\r\n\r\n")
    for line in head.lower().split(b"\r\n"):
        if line.startswith(b"content-length:"):
            await reader.readexactly(int(line.partition(b":")[2]))
    return head


def answering(raw: bytes, heads: list[bytes] | None = None) -> Handler:
    """Return a handler that reads a request, answers with `raw` and closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await read_request(reader)
        if heads is not None:
            heads.append(head)
        writer.write(raw)
        await writer.drain()

    return handler


def http(status: int, body: bytes, *headers: str) -> bytes:
    """Return an HTTP answer that closes its connection."""
    lines = [f"HTTP/1.1 {status} Whatever", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join([*lines, "Connection: close", "", ""]).encode() + body
