"""A webhook that needs no ASGI: answered in its turn, durable by then, whatever else happens."""

import asyncio
import gc
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.core.signature import sign
from offhook.errors import BacklogFull, StoreUnavailable
from offhook.events import Answered, Event, Problem
from offhook.ingress.connection_state import TRANSITIONS, State
from offhook.ingress.connections import Bounds
from offhook.ingress.credentials import Credentials
from offhook.ingress.direct import Webhooks
from offhook.ingress.http_protocol import HttpProtocol
from offhook.ingress.reading import Reader
from offhook.ingress.reception import Reception
from offhook.ingress.request_limits import PIPELINED
from offhook.ingress.routes import routes
from offhook.process.server import server_for, serving
from offhook.process.sockets import listen
from offhook.stores.api import Append
from testing.webhooks import (
    FORM,
    MESSAGE,
    PUBLIC,
    STATUS,
    TOKEN,
    Fields,
    Reply,
    changed,
    encoded,
    named,
    read_reply,
    request,
    settings,
)

PATIENCE = 60.0
HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
UNSIGNED = request("POST", "/twilio/messages", encoded(MESSAGE), {"Content-Type": FORM})


def webhook(
    fields: Fields = MESSAGE, target: str = "/twilio/messages", token: str = TOKEN, **more: str
) -> bytes:
    signature = sign(url=PUBLIC + target, params=fields, auth_token=token)
    given = {"Content-Type": FORM, "X-Twilio-Signature": signature}
    given |= {name.replace("_", "-"): value for name, value in more.items()}
    return request("POST", target, encoded(fields), given)


def numbered(number: int, **more: str) -> bytes:
    return webhook(named(MESSAGE, f"SM{number:032d}"), **more)


class Appends:
    """Stores nothing, and says it when it is told to.

    Attributes:
        stored: what is to be stored, with what its sender waits for.
    """

    def __init__(self) -> None:
        self.stored: list[tuple[Webhook, asyncio.Future[bool]]] = []
        self.at_once = True

    def __call__(self, webhook: Webhook) -> "asyncio.Future[bool]":
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self.stored.append((webhook, future))
        if self.at_once:
            future.set_result(True)
        return future

    async def until(self, count: int) -> None:
        while len(self.stored) < count:  # noqa: ASYNC110 - the server is on this loop
            await asyncio.sleep(0)

    def finish(self) -> None:
        for _, future in self.stored:
            if not future.done():
                future.set_result(True)

    @property
    def sids(self) -> list[str]:
        return [Inbound.of(webhook).sid for webhook, _ in self.stored]


class Client:
    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    async def reply(self) -> Reply:
        return await read_reply(self.reader)

    async def statuses(self, count: int) -> list[int]:
        return [(await self.reply()).status for _ in range(count)]

    async def rest(self) -> bytes:
        """Return what comes until the server has ended the connection."""
        async with asyncio.timeout(PATIENCE):
            with suppress(ConnectionError):
                return await self.reader.read()
        return b""


class Running:
    """A server that answers webhooks directly.

    Attributes:
        by_asgi: the paths that were left to the application.
    """

    def __init__(
        self, app: ASGIApp, webhooks: Webhooks, events: list[Event], stack: AsyncExitStack
    ) -> None:
        self._app = app
        self._stack = stack
        self.reception = webhooks.reception
        self.by_asgi: list[str] = []
        self.events = events
        self.server = server_for(
            self,
            drain=PATIENCE,
            lifespan="off",
            bounds=Bounds(100),
            webhooks=lambda: webhooks,
        )
        self.port = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self.by_asgi.append(scope["path"])
        await self._app(scope, receive, send)

    async def client(self) -> Client:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        self._stack.callback(writer.close)
        return Client(reader, writer)

    @property
    def protocol(self) -> HttpProtocol:
        """The one connection."""
        (protocol,) = self.server.server_state.connections
        assert isinstance(protocol, HttpProtocol)
        return protocol

    async def told(self, count: int = 1) -> list[Answered]:
        """Wait for so many answers to be reported."""
        async with asyncio.timeout(PATIENCE):
            while len(self.answered) < count:  # noqa: ASYNC110 - the server is on this loop
                await asyncio.sleep(0)
        return self.answered

    @property
    def answered(self) -> list[Answered]:
        return [event for event in self.events if isinstance(event, Answered)]


@asynccontextmanager
async def running(
    append: Append[Webhook],
    lookup: Callable[[str], Awaitable[str | None]] | None = None,
    **given: Any,
) -> AsyncIterator[Running]:
    events: list[Event] = []
    chosen = settings(**given)
    credentials = Credentials(chosen, lookup, events.append)
    reception = Reception(append, chosen, events.append, credentials=credentials)

    async def ready() -> bool:
        return True

    app = routes(reception, chosen, ready=ready)
    async with asyncio.timeout(2 * PATIENCE):
        with listen("127.0.0.1", 0) as listener:
            async with AsyncExitStack() as stack:
                at = Running(app, Webhooks(reception, Reader(chosen)), events, stack)
                at.port = listener.getsockname()[1]
                await stack.enter_async_context(serving(at.server, listener))
                yield at
        await credentials.close()


# What goes which way


async def test_a_webhook_as_twilio_sends_it_needs_no_asgi() -> None:
    async with running(append := Appends()) as at:
        client = await at.client()
        status = changed(STATUS, MessageSid="SM" + "5" * 32, SmsSid="SM" + "5" * 32)
        client.writer.write(webhook())
        assert (await client.reply()).status == 200
        client.writer.write(webhook(status, "/twilio/status?send=17"))
        assert (await client.reply()).status == 204
        assert at.by_asgi == []
        kinds = [one.kind for one, _ in append.stored]
        assert kinds == [Kind.MESSAGE, Kind.STATUS]


ODD = {
    "a GET": HEALTH.replace(b"/healthz", b"/twilio/messages"),
    "another path": webhook(target="/twilio/messages/"),
    "an escaped path": webhook(target="/twilio/%6dessages"),
    "HTTP/1.0": webhook().replace(b"HTTP/1.1", b"HTTP/1.0"),
    "no host": webhook().replace(b"Host: 127.0.0.1\r\n", b""),
    "a host that is none": webhook(Host="a b"),
    "two hosts": webhook().replace(b"Host:", b"Host: b\r\nHost:"),
    "a header twice": webhook().replace(b"Content-Type:", b"X-A: 1\r\nX-A: 2\r\nContent-Type:"),
    "an expectation": webhook(Expect="something else"),
    "an upgrade": webhook(Connection="upgrade", Upgrade="h2c"),
    "a declared length above the limit": webhook(changed(MESSAGE, Body="x" * 70_000)),
}


@pytest.mark.parametrize("data", ODD.values(), ids=ODD)
async def test_whatever_is_out_of_the_ordinary_is_the_applications(data: bytes) -> None:
    async with running(Appends()) as at:
        client = await at.client()
        client.writer.write(data)
        await client.reply()
        assert len(at.by_asgi) == 1


# Pieces


async def test_it_may_be_split_at_every_byte() -> None:
    async with running(append := Appends()) as at:
        client = await at.client()
        size = len(numbered(0))
        for cut in range(1, size):
            data = numbered(cut)
            client.writer.write(data[:cut])
            while not at.server.server_state.connections or at.protocol._fed < cut:  # noqa: ASYNC110
                await asyncio.sleep(0)
            client.writer.write(data[cut:])
            assert (await client.reply()).status == 200
        assert append.sids == [f"SM{number:032d}" for number in range(1, size)]
        assert at.by_asgi == []


async def test_it_may_come_byte_by_byte_and_in_chunks() -> None:
    body = encoded(MESSAGE)
    head = webhook().partition(b"\r\n\r\n")[0]
    head = head.replace(b"Content-Length: %d" % len(body), b"Transfer-Encoding: chunked")
    chunks = b"".join(b"1;a=b\r\n%c\r\n" % byte for byte in body)
    async with running(append := Appends()) as at:
        client = await at.client()
        for data in (webhook(), head + b"\r\n\r\n" + chunks + b"0\r\nX-A: b\r\n\r\n"):
            for byte in data:
                client.writer.write(bytes([byte]))
                await asyncio.sleep(0)
            assert (await client.reply()).status == 200
        assert [one.form for one, _ in append.stored] == [body, body]
        assert at.by_asgi == []


# Sent ahead


async def test_what_is_sent_ahead_is_answered_in_order_whichever_way_it_goes() -> None:
    mixed: Sequence[tuple[bytes, int, str]] = [
        (numbered(1), 200, ""),
        (HEALTH, 200, ""),
        (UNSIGNED, 403, "missing-signature"),
        (webhook(target="/nowhere"), 404, "not-found"),
        (webhook(STATUS, "/twilio/status"), 204, ""),
        (webhook().replace(b"POST", b"PUT"), 405, "method-not-allowed"),
        (numbered(2), 200, ""),
        (webhook(target="/twilio/%6Dessages"), 200, ""),
    ]
    dice = random.Random(1)
    async with running(append := Appends()) as at:
        client = await at.client()
        for round_ in range(50):
            append.at_once = round_ % 2 == 0
            begun = len(append.stored)
            order = dice.sample(mixed, len(mixed))
            data = b"".join(request for request, _, _ in order)
            cut = dice.randrange(len(data))
            client.writer.write(data[:cut])
            await asyncio.sleep(0)
            client.writer.write(data[cut:])
            got = asyncio.create_task(_replies(client, len(order)))
            while not got.done():
                append.finish()
                await asyncio.sleep(0)
            expected = [(status, error) for _, status, error in order]
            assert [(one.status, one.error) for one in await got] == expected
            assert len(append.stored) - begun == 4


async def _replies(client: Client, count: int) -> list[Reply]:
    return [await client.reply() for _ in range(count)]


async def test_one_is_not_judged_before_those_ahead_of_it_are_answered() -> None:
    async with running(append := Appends()) as at:
        append.at_once = False
        client = await at.client()
        client.writer.write(numbered(1) + numbered(2) + HEALTH)
        await append.until(1)
        client.writer.write(numbered(3))
        await asyncio.sleep(0.05)
        assert (append.sids, at.by_asgi) == ([f"SM{1:032d}"], [])
        for count in (1, 2, 3):
            await append.until(count)
            append.finish()
        assert await client.statuses(4) == [200] * 4


async def test_what_is_sent_while_others_wait_is_read_later() -> None:
    async with running(append := Appends()) as at:
        append.at_once = False
        client = await at.client()
        client.writer.write(numbered(0))
        await append.until(1)
        for number in range(1, PIPELINED + 2):
            client.writer.write(numbered(number))
            await asyncio.sleep(0.01)
        for count in range(1, PIPELINED + 3):
            await append.until(count)
            append.finish()
        assert await client.statuses(PIPELINED + 2) == [200] * (PIPELINED + 2)
        assert append.sids == [f"SM{number:032d}" for number in range(PIPELINED + 2)]


async def test_a_flood_of_requests_at_once_is_refused() -> None:
    async with running(append := Appends()) as at:
        client = await at.client()
        client.writer.write(UNSIGNED * (PIPELINED + 1))
        assert await client.statuses(PIPELINED + 1) == [403] * (PIPELINED + 1)
        client.writer.write(UNSIGNED * 100)
        answers = await client.rest()
        assert answers.count(b" 403 ") == PIPELINED + 1
        assert b"malformed-request" in answers.rpartition(b"HTTP/1.1")[2]

        append.at_once = False
        client = await at.client()
        client.writer.write(numbered(1) * 100)
        refusal = await client.reply()
        assert (refusal.status, refusal.error) == (400, "malformed-request")
        append.finish()
        assert await client.rest() == b""
        await at.told(2 * (PIPELINED + 1) + 1)  # what was stored is told


async def test_what_is_no_request_is_refused_in_its_turn() -> None:
    async with running(append := Appends()) as at:
        append.at_once = False
        client = await at.client()
        client.writer.write(numbered(1) + numbered(2) + b"garbage\r\n\r\n")
        for count in (1, 2):
            await append.until(count)
            append.finish()
        assert await client.statuses(2) == [200, 200]
        refusal = await client.reply()
        assert (refusal.status, refusal.error, refusal.closed) == (400, "malformed-request", True)


async def test_a_body_too_large_is_refused_in_its_turn() -> None:
    head = UNSIGNED.partition(b"\r\n\r\n")[0]
    head = head.replace(
        b"Content-Length: %d" % len(encoded(MESSAGE)), b"Transfer-Encoding: chunked"
    )
    large = head + b"\r\n\r\n1388\r\n" + b"a" * 0x1388 + b"\r\n"  # and more is to come
    async with running(append := Appends(), body_limit=1024) as at:
        append.at_once = False
        client = await at.client()
        client.writer.write(numbered(1) + large)
        await append.until(1)
        await at.told(1)
        append.finish()
        assert (await client.reply()).status == 200
        refusal = await client.reply()
        assert (refusal.status, refusal.error, refusal.closed) == (413, "body-too-large", True)
        told = [(event.status, event.error) for event in await at.told(2)]
        assert told == [(413, "body-too-large"), (200, "")]


async def test_a_client_that_does_not_read_is_read_no_further() -> None:
    async with running(append := Appends()) as at:
        client = await at.client()
        client.writer.write(HEALTH)
        assert (await client.reply()).status == 200
        # As the transport does. The system's buffers would hold the answers of a whole test.
        protocol = at.protocol
        protocol.pause_writing()
        client.writer.write(numbered(1))
        other = await at.client()
        for _ in range(3):
            other.writer.write(HEALTH)
            assert (await other.reply()).status == 200
        assert append.stored == []
        protocol.resume_writing()
        assert (await client.reply()).status == 200


# The end of a connection


async def test_a_client_that_says_so_gets_the_last_answer_and_the_end() -> None:
    async with running(append := Appends()) as at:
        for at_once in (True, False):
            append.at_once = at_once
            append.stored.clear()
            client = await at.client()
            client.writer.write(numbered(1, Connection="close") + numbered(2) + HEALTH)
            await append.until(1)
            append.finish()
            reply = await client.reply()
            assert (reply.status, reply.headers["connection"], reply.closed) == (200, "close", True)
            assert append.sids == [f"SM{1:032d}"], "what follows is not handled"
        append.stored.clear()
        client = await at.client()
        client.writer.write(
            UNSIGNED.replace(b"\r\n", b"\r\nConnection: close\r\n", 1) + numbered(2)
        )
        answer = await client.rest()
        assert (answer.count(b" 403 "), answer.count(b"HTTP/1.1")) == (1, 1)
        assert append.stored == []
        assert at.by_asgi == []


async def test_what_is_appended_is_told_although_the_client_has_gone() -> None:
    async with running(append := Appends()) as at:
        append.at_once = False
        client = await at.client()
        client.writer.write(numbered(1))
        await append.until(1)
        client.writer.transport.abort()
        while at.server.server_state.connections:  # noqa: ASYNC110
            await asyncio.sleep(0)
        assert at.answered == []
        append.finish()
        (told,) = await at.told()
        assert (told.status, told.sid) == (200, f"SM{1:032d}")


async def test_at_shutdown_what_is_pending_is_answered_first() -> None:
    async with running(append := Appends()) as at:
        append.at_once = False
        client, idle = await at.client(), await at.client()
        idle.writer.write(HEALTH)
        assert (await idle.reply()).status == 200
        client.writer.write(numbered(1) + numbered(2))
        await append.until(1)
        at.server.should_exit = True
        assert await idle.rest() == b""  # so the shutdown has begun
        append.finish()
        await append.until(2)
        append.finish()
        first, last = [await client.reply() for _ in range(2)]
        assert (first.status, "connection" in first.headers) == (200, False)
        assert (last.status, last.headers["connection"], last.closed) == (200, "close", True)


# The store


async def test_a_store_that_takes_too_long_is_not_waited_for() -> None:
    async with running(append := Appends(), enqueue_timeout=0.1) as at:
        append.at_once = False
        clients = [await at.client() for _ in range(3)]
        for number, client in enumerate(clients):
            client.writer.write(numbered(number))
        for client in clients:
            reply = await client.reply()
            assert (reply.status, reply.error) == (503, "store-timeout")
        assert all(future.cancelled() for _, future in append.stored)
        append.at_once = True
        clients[0].writer.write(numbered(9))
        assert (await clients[0].reply()).status == 200, "the connection goes on"
        assert [event.error for event in await at.told(4)] == ["store-timeout"] * 3 + [""]


class UnforeseenError(Exception):
    pass


FAILURES: list[tuple[Exception, str]] = [
    (StoreUnavailable("the disk is full"), "store-unavailable"),
    (BacklogFull("too many"), "backlog-full"),
    (UnforeseenError("quotes what a person wrote"), "internal-error"),
]


@pytest.mark.parametrize("how", ["at once", "later", "in a task"])
@pytest.mark.parametrize(("failure", "error"), FAILURES, ids=[error for _, error in FAILURES])
async def test_a_store_that_fails_is_told_by_name(failure: Exception, error: str, how: str) -> None:
    async def fail() -> bool:
        await asyncio.sleep(0)
        raise failure

    def append(_webhook: Webhook) -> Awaitable[bool]:
        if how == "at once":
            raise failure
        if how == "in a task":
            return fail()
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        asyncio.get_running_loop().call_soon(future.set_exception, failure)
        return future

    async with running(append) as at:
        client = await at.client()
        for _ in range(2):
            client.writer.write(webhook())
            reply = await client.reply()
            assert (reply.status, reply.error) == (503, error)
        assert [event.error for event in await at.told(2)] == [error, error]
        assert "person" not in repr(at.events)


# Tokens that have to be looked up


async def test_one_that_has_to_wait_for_its_tokens_is_answered_in_its_turn() -> None:
    tenant, known = "AC" + "7" * 32, asyncio.Event()

    async def lookup(_account: str) -> str:
        await known.wait()
        return "theirs"

    async with running(append := Appends(), lookup, signature_timeout=PATIENCE) as at:
        client = await at.client()
        theirs = changed(MESSAGE, AccountSid=tenant)
        client.writer.write(webhook(theirs, token="theirs") + UNSIGNED)
        other = await at.client()
        other.writer.write(webhook(theirs, token="guessed", Connection="close"))
        while len(at.server.server_state.tasks) < 2:  # noqa: ASYNC110
            await asyncio.sleep(0)
        known.set()
        assert await client.statuses(2) == [200, 403]
        assert (await other.reply()).status == 403
        assert [Inbound.of(one).account_sid for one, _ in append.stored] == [tenant]
        assert at.by_asgi == []


async def test_with_signatures_off_nothing_is_looked_up() -> None:
    async def lookup(_account: str) -> str:
        raise AssertionError

    async with running(append := Appends(), lookup, signature="off") as at:
        client = await at.client()
        client.writer.write(UNSIGNED)
        assert (await client.reply()).status == 200
        assert len(append.stored) == 1
        assert not [one for one in at.events if isinstance(one, Problem)]


# Memory


async def test_neither_a_request_nor_a_connection_leaves_cycles_for_the_collector() -> None:
    async with running(append := Appends()) as at:
        gc.collect()
        gc.disable()
        gc.set_debug(gc.DEBUG_SAVEALL)
        try:
            for data, count in (
                (webhook() * 3, 3),
                (webhook(Connection="close"), 1),
                (UNSIGNED + HEALTH, 2),
                (numbered(1) + b"garbage\r\n\r\n", 2),
            ):
                client = await at.client()
                client.writer.write(data)
                await client.statuses(count)
                client.writer.close()
                while at.server.server_state.connections:  # noqa: ASYNC110
                    await asyncio.sleep(0)
            append.stored.clear()
            gc.collect()
            ours = [one for one in gc.garbage if type(one).__module__.startswith("offhook")]
        finally:
            gc.set_debug(0)
            gc.garbage.clear()
            gc.enable()
        assert ours == []


# Mistakes of ours


async def test_a_mistake_of_an_observer_does_not_stop_the_connection() -> None:
    async with running(append := Appends()) as at:
        append.at_once = False
        failures: list[dict[str, Any]] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: failures.append(what))
        client = await at.client()
        client.writer.write(numbered(1) + numbered(2))
        await append.until(1)
        at.reception._observe = _failing(at.reception)
        append.finish()
        await append.until(2)
        append.finish()
        assert await client.statuses(2) == [200, 200]
        assert len(failures) == 1


def _failing(reception: Reception) -> Callable[[Event], None]:
    """Return an observer that fails once."""
    observe = reception._observe

    def fail(_event: Event) -> None:
        reception._observe = observe
        raise UnforeseenError

    return fail


# The table


def test_every_state_can_be_reached_and_lost() -> None:
    reached, more = {State.IDLE}, {State.IDLE}
    while more:
        more = {to for state in more for to in TRANSITIONS[state].values()} - reached
        reached |= more
    assert reached == set(State)
    assert set(TRANSITIONS) == set(State)
    for state, ways in TRANSITIONS.items():
        assert (State.CLOSED in ways.values()) is (state is not State.CLOSED)
