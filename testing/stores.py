"""What the store's tests say a webhook is."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from hashlib import blake2b
from pathlib import Path
from urllib.parse import urlencode

import asyncpg

from offhook.core.deferred import Deferred
from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.core.lifecycle import Trigger
from offhook.core.loop_detection import LoopRule
from offhook.core.requests import Request
from offhook.stores import open_store
from offhook.stores.api import Claim, Draft, Settlement, Store
from offhook.worker.sorter import catch_up

DONE = Settlement(Trigger.COMPLETE)
LOOP = LoopRule(within=3600.0, pace=30.0)  # slower than any machine
Scenario = Callable[[Store], Awaitable[None]]


def inbound(
    sid: str,
    lane: str = "lane",
    *,
    kind: Kind = Kind.MESSAGE,
    notice_after: float | None = None,
) -> Inbound:
    return Inbound(
        kind=kind,
        key=blake2b(f"{kind}{sid}".encode(), digest_size=16).digest(),
        lane=lane,
        account_sid="AC1",
        sid=sid,
        sender=f"+1555{lane}",
        recipient="+15005550006",
        form=f"MessageSid={sid}".encode(),
        notice_after=notice_after,
    )


def webhook(
    sid: str,
    lane: str = "lane",
    *,
    kind: Kind = Kind.MESSAGE,
    notice_after: float | None = None,
    **more: str,
) -> Webhook:
    """Return what an ingress appends, of the same message as `inbound`."""
    fields = {"AccountSid": "AC1", "MessageSid": sid, "From": f"+1555{lane}", "To": "+15005550006"}
    return Webhook(kind, urlencode(fields | more).encode(), notice_after)


def deferred(request: Request, account_sid: str) -> Inbound:
    """Return what a store gets of a request that can't be verified yet."""
    return Inbound.of(Webhook(Kind.DEFERRED, Deferred(request, account_sid).form))


def draft(identity: str = "reply:0", body: str = "hello", *, once_in: float = 0.0) -> Draft:
    return Draft(identity, "AC1", "+15005550006", "+15551230001", body, once_in=once_in)


@asynccontextmanager
async def opened(place: Path | str) -> AsyncIterator[Store]:
    """Open the store at a URL, or in a file."""
    store = open_store(place if isinstance(place, str) else f"sqlite:///{place}")
    await store.open()
    try:
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def opened_sorted(place: Path | str) -> AsyncIterator[Store]:
    """Open the store likewise, once all that has been acknowledged is in it."""
    async with opened(place) as store:
        assert await catch_up(store, lambda _: None, patience=60)
        yield store


async def claim(
    store: Store, limit: int = 100, *, lease: float = 30.0, owner: str = "w1", alone: bool = False
) -> tuple[Claim, ...]:
    claimed = await store.claim(limit, lease=lease, owner=owner, alone=alone, loop=LOOP)
    return claimed.claims


async def claim_one(store: Store, *, lease: float = 30.0, owner: str = "w1") -> Claim:
    (one,) = await claim(store, 1, lease=lease, owner=owner)
    return one


async def transactions_of_sends(url: str) -> int:
    """Return how many transactions have written the sends of a store.

    In a file it is all that have written anything, since its last checkpoint.
    """
    if url.startswith("sqlite"):
        return _commits(Path(url.removeprefix("sqlite:///") + "-wal").read_bytes())
    connection = await asyncpg.connect(url)
    try:
        query = "SELECT count(DISTINCT xmin::text) FROM offhook.sends"
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


def _commits(log: bytes) -> int:
    """Count the frames of a write-ahead log that end a transaction: they tell the file's size.

    https://www.sqlite.org/fileformat2.html#walformat
    """
    page = int.from_bytes(log[8:12])
    frames = range(32, len(log), 24 + page)
    return sum(
        log[at + 4 : at + 8] != bytes(4) and log[at + 8 : at + 16] == log[16:24] for at in frames
    )
