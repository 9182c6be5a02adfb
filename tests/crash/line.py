"""The REST side: the simulated Twilio's API, counted by ledger row, and refused at times."""

import asyncio
import random
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import parse_qs, urlsplit

from starlette.types import Message, Receive, Scope, Send

from offhook.core.forms import decode_form
from offhook.twilio.simulator import Credentials, Event, Outbound, Simulator, Trouble
from offhook.twilio.simulator.serving import serving
from testing.ports import free_port
from tests.crash.waiting import wait_for

NUMBER = "+15005550006"

# The first status is called back while the answer is still held back, and kills hit sends that
# are under way.
TROUBLE = Trouble(rate_limited=0.03, lost_answers=0.03, server_errors=0.02, answer_delay=0.06)

_KEPT = 1_000_000  # messages in its list: what is not there is sent again

_UP = (3.0, 12.0)  # seconds between two refusals
_REFUSING = (0.0, 0.3)  # seconds; what the server takes to go down comes on top

TOO_MANY = 429
CREATED = 201


@dataclass(slots=True)
class Requested:
    """A request to send, as it arrived.

    Attributes:
        row: the ledger's number, from the URL for status callbacks.
        status: what was answered; 0 for nothing, because the server went down.
        read: whether the answer left whole, and somebody was there to read it.
    """

    row: int
    to: str
    body: str
    status: int = 0
    read: bool = False


class RestSide:
    """An ASGI application that passes requests on to the simulator, and counts them."""

    def __init__(self, credentials: Credentials, seed: int) -> None:
        self.simulator = Simulator(
            **credentials._asdict(), number=NUMBER, trouble=TROUBLE, seed=seed
        )
        self.simulator._messaging.history._kept = _KEPT
        self.requests: list[Requested] = []
        self.accepted: Counter[int] = Counter()  # by row of the ledger
        self.refusals = 0
        self._rng = random.Random(seed)
        self._steady = asyncio.Event()
        self._port = free_port()
        self.url = f"http://127.0.0.1:{self._port}"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["method"] == "GET":  # the message list
            await self.simulator.rest(scope, receive, send)
            return
        body = await _read(receive)
        if body is None:
            return  # the sender died while it was writing
        request = _requested(body)
        self.requests.append(request)

        async def replay() -> Message:
            return {"type": "http.request", "body": body}

        async def note(event: Message) -> None:
            if event["type"] == "http.response.start":
                request.status = event["status"]
            else:
                request.read = not hung_up.done()
            await send(event)

        hung_up = asyncio.ensure_future(receive())  # what comes after the body is the end
        try:
            await self.simulator.rest(scope, replay, note)
        finally:
            hung_up.cancel()

    @asynccontextmanager
    async def open(self) -> AsyncIterator[None]:
        """Answer within the context, and now and then refuse connections for a moment."""
        async with self.simulator:
            with self.simulator.listening(self._count):
                answering = asyncio.create_task(self._answer())
                try:
                    yield
                finally:
                    answering.cancel()
                    await asyncio.wait({answering})

    def behave(self) -> None:
        """Make no more trouble."""
        self._steady.set()
        self.simulator.trouble = Trouble()

    async def reports_are_in(self) -> None:
        """Wait until the simulator has called back every status."""
        while reports := self.simulator._messaging._reports:
            await asyncio.wait(set(reports))

    def _count(self, event: Event) -> None:
        if isinstance(event, Outbound) and len(event.statuses) == 1:  # further ones are its course
            self.accepted[_row(event.status_callback)] += 1

    async def _answer(self) -> None:
        while not self._steady.is_set():
            async with serving(self, host="127.0.0.1", port=self._port):
                await wait_for(self._steady, self._rng.uniform(*_UP))
            self.refusals += 1
            await asyncio.sleep(self._rng.uniform(*_REFUSING))
        async with serving(self, host="127.0.0.1", port=self._port):
            await asyncio.Event().wait()  # until it is cancelled


async def _read(receive: Receive) -> bytes | None:
    body = bytearray()
    while True:
        event = await receive()
        if event["type"] == "http.disconnect":
            return None
        body += event.get("body", b"")
        if not event.get("more_body"):
            return bytes(body)


def _requested(body: bytes) -> Requested:
    form = decode_form(body)
    return Requested(_row(form.get("StatusCallback")), form.get("To"), form.get("Body"))


def _row(status_callback: str) -> int:
    return int(parse_qs(urlsplit(status_callback).query)["send"][0].partition(".")[0])
