"""A worker with a real store, and what the tests wait for."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlencode

from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind, conversation
from offhook.core.lifecycle import SendTrigger, State
from offhook.core.messages import Send
from offhook.events import Event, Handled, Problem, Topic
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.stores.api import (
    Filter,
    Record,
    SendClaim,
    SendOutcome,
    Store,
)
from offhook.worker.handlers import Handlers
from offhook.worker.maintenance import Maintenance
from offhook.worker.message import Message
from offhook.worker.rate_limit import open_sender_limit
from offhook.worker.sending import SendLoop
from offhook.worker.service import Worker

E = TypeVar("E", bound=Event)

ACCOUNT = "AC" + "0" * 32
OURS = "+15005550006"
ANN, BOB = "+15551230001", "+15551230002"
PATIENCE = 60.0  # seconds until a test that waits in vain fails


class Told:
    """Everything that was observed, and a way to wait for it. The observer may be on any thread."""

    def __init__(self) -> None:
        self.events: list[Event] = []
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._loop.call_soon_threadsafe(self._changed.set)

    def of(self, kind: type[E]) -> list[E]:
        return [event for event in self.events if isinstance(event, kind)]

    def topics(self) -> list[Topic]:
        return [problem.topic for problem in self.of(Problem)]

    async def until(self, fits: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not fits():
                self._changed.clear()
                await self._changed.wait()

    async def runs(self, count: int) -> list[Handled]:
        """Wait until so many runs have ended."""
        await self.until(lambda: len(self.of(Handled)) >= count)
        return self.of(Handled)

    async def problem(self, topic: Topic) -> Problem:
        await self.until(lambda: topic in self.topics())
        return next(problem for problem in self.of(Problem) if problem.topic == topic)


class Outbox:
    """A way to Twilio that takes everything, or does what `answers` say first."""

    def __init__(self) -> None:
        self.sent: list[SendClaim] = []
        self.answers: list[SendOutcome] = []
        self.begun = asyncio.Event()
        self.gate: asyncio.Event | None = None

    @property
    def bodies(self) -> list[str]:
        return [claim.draft.body for claim in self.sent]

    async def send(self, claim: SendClaim) -> SendOutcome:
        self.sent.append(claim)
        self.begun.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.answers:
            return self.answers.pop(0)
        return SendOutcome(SendTrigger.ACCEPT, sid=f"SM{claim.id:032d}", status="queued")

    async def close(self) -> None:
        return


class Line:
    """A store, and everything that works on it."""

    def __init__(self, store: Store, url: str, handlers: Handlers, settings: Settings) -> None:
        self.store = store
        self.url = url
        self.heartbeat_url = url
        self.settings = settings
        self.told = Told()
        self.outbox = Outbox()
        self.worker = Worker(
            store,
            handlers,
            settings,
            self.told,
            owner="worker",
            open_store=lambda: open_store(self.heartbeat_url),
            sender_limit=open_sender_limit(settings, self.told),
        )
        self.sends = SendLoop(store, self.outbox, settings, self.told, owner="worker")
        self.maintenance = Maintenance(store, settings, self.told)

    async def receive(
        self, body: str, *, sender: str = ANN, notice_after: float | None = None, **more: str
    ) -> str:
        """Store a message; return its SID."""
        sid = more.pop("sid", "") or f"SM{os.urandom(16).hex()}"
        raw = {"MessageSid": sid, "AccountSid": ACCOUNT, "From": sender, "To": OURS, "Body": body}
        await self._accept(Kind.MESSAGE, {**raw, **more}, notice_after)
        return sid

    async def status(self, sid: str, status: str, *, send: str = "") -> None:
        """Store a status callback, as an ingress does."""
        raw = {"MessageSid": sid, "AccountSid": ACCOUNT, "From": OURS, "To": ANN}
        raw["MessageStatus"] = status
        if send:
            raw["send"] = send
        await self._accept(Kind.STATUS, raw, None)

    async def _accept(self, kind: Kind, raw: dict[str, str], notice_after: float | None) -> None:
        inbound = Inbound.of(Webhook(kind, urlencode(raw).encode(), notice_after))
        if not await self.store.accept(inbound):
            raise AssertionError("a test's webhooks are new")

    async def record(self, sid: str) -> Record:
        (record,) = await self.store.find(Filter(sid=sid))
        return record

    async def state(self, sid: str) -> State:
        return (await self.record(sid)).state

    async def ledger(self, sid: str) -> dict[str, Send]:
        """Return a message's sends by their identities."""
        history = await self.store.show((await self.record(sid)).id)
        return {} if history is None else {send.identity: send for send in history.sends}


def lane(sender: str) -> str:
    return conversation(ACCOUNT, ours=OURS, theirs=sender)


@asynccontextmanager
async def opened(tmp_path: Path, handlers: Handlers, **changes: Any) -> AsyncIterator[Line]:
    """Open a store; nothing works on it yet. Slow notices are sent when they are due."""
    url = f"sqlite:///{tmp_path}/offhook.db"
    settings = Settings.load(env_file=None, account_sid=ACCOUNT, auth_token="t", store=url)
    store = open_store(url)
    await store.open()
    try:
        yield Line(
            store, url, handlers, settings.replace(**{"slow_notice_after": 0.001, **changes})
        )
    finally:
        await store.close()


@asynccontextmanager
async def serving(
    line: Line, *, sends: bool = False, maintenance: bool = False
) -> AsyncIterator[None]:
    """Let the worker work, and the others that are asked for; drain at the end."""
    tasks = [asyncio.create_task(line.worker.run())]
    if sends:
        tasks.append(asyncio.create_task(line.sends.run()))
    if maintenance:
        tasks.append(asyncio.create_task(line.maintenance.run()))
    try:
        yield
    finally:
        line.worker.stop(0.0)
        if sends:
            line.sends.stop(0.0)
        if maintenance:
            line.maintenance.stop()
        await asyncio.gather(*tasks)


def handled_by(*functions: Callable[..., Any], **options: Any) -> Handlers:
    handlers = Handlers()
    for function in functions:
        handlers.add_message(function, **options)
    return handlers


async def crash(store: Store, times: int) -> None:
    """Let the first message be running while its worker dies, so many times."""
    for _ in range(times):
        claimed = await store.claim(1, lease=30.0, owner="dead", alone=False)
        if claimed.suspects:
            claimed = await store.claim(1, lease=30.0, owner="dead", alone=True)
        if len(claimed.claims) != 1:
            raise AssertionError("there is one message to crash with")
        await store.release("dead")


def bodies(messages: Sequence[Message]) -> list[str]:
    return [message.body for message in messages]
