"""The shared store: `api.Store`, kept in PostgreSQL."""

import asyncio
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from typing import Concatenate, Final, ParamSpec, TypeVar

from offhook.core.cost import Spending
from offhook.core.inbound import Inbound
from offhook.core.lifecycle import Delivery, SendTrigger
from offhook.core.loop_detection import LoopRule
from offhook.core.messages import Send
from offhook.core.search import Phrase
from offhook.core.turns import Turn
from offhook.core.unknown_sends import Verdict
from offhook.errors import StoreError, StoreUnavailable
from offhook.stores.api import (
    Claim,
    Claimed,
    ClaimedSends,
    Counts,
    Draft,
    Erasure,
    Filter,
    Found,
    History,
    Inquiry,
    Overdue,
    Record,
    Retention,
    SavedState,
    SendClaim,
    SendFilter,
    SendOutcome,
    SendRecord,
    SendRequest,
    Settlement,
    TurnFilter,
)
from offhook.stores.postgres import (
    aliases,
    claiming,
    conversations,
    counts,
    deliveries,
    inbox,
    lanes,
    ledger,
    pruning,
    send_requests,
    sends,
    settling,
    sorting,
    unknown,
)
from offhook.stores.postgres.batching import Batches
from offhook.stores.postgres.clock import StoreClock, check
from offhook.stores.postgres.deliveries import Reported
from offhook.stores.postgres.errors import described
from offhook.stores.postgres.ledger import Notice
from offhook.stores.postgres.pool import Connection, Pool
from offhook.stores.postgres.presence import Presence
from offhook.stores.postgres.schema import migrate
from offhook.stores.postgres.settling import RunWrite
from offhook.stores.postgres.values import storable
from offhook.stores.postgres.wakeup import Wake
from offhook.stores.rows import Settled

P = ParamSpec("P")
T = TypeVar("T")
I = TypeVar("I")  # noqa: E741 - an item

POOL: Final = 6
"""Connections of a process, beside the one for LISTEN."""
TIMEOUT: Final = 10.0
"""Seconds until an answer is no longer waited for."""

_LEAVE: Final = 1.0  # seconds; of what is left behind, others find out
_READERS: Final = 2  # of the pool: what operators ask takes nothing from what messages need
_BATCH: Final = 256  # some milliseconds of work: a lane is not locked for longer


class PostgresStore:
    """Keeps `api.Store` in a database, which any number of machines share.

    Args:
        url: `postgresql://user:password@host:port/database`, as asyncpg takes it; it may lead to a
            transaction pooler.
        direct: the same database without the pooler, for LISTEN and for the lock that shows that a
            worker lives; else `url` is tried.
        pool: connections that a process opens at most, at least 3.
        timeout: seconds until an answer is no longer waited for.
    """

    def __init__(
        self, url: str, *, direct: str = "", pool: int = POOL, timeout: float = TIMEOUT
    ) -> None:
        self._timeout = timeout
        self._writing = Pool(url, size=max(1, pool - _READERS), timeout=timeout)
        self._reading = Pool(url, size=_READERS, timeout=timeout)
        self._presence = Presence()
        self._wake = Wake(
            direct or url, self._execute, timeout=timeout, attend=self._presence.attend
        )
        self._accepts = Batches(self.accept_all, most=_BATCH, at_once=2)
        self._steps = Batches(self._step, most=_BATCH, at_once=2)
        self._outcomes = Batches(self._settle_sends, most=_BATCH, at_once=1)
        self._reports = Batches(self._record, most=_BATCH, at_once=1)
        self._notices = Batches(self._notify, most=_BATCH, at_once=1)
        self._clock = StoreClock()
        self._is_open = False
        self._place = described(url)
        self._migrating = ""

    @property
    def migrating(self) -> str:
        return self._migrating

    async def open(self) -> None:
        try:
            await migrate(self._writing, self._tell_migrating)
        except BaseException:
            await self.close()
            raise
        finally:
            self._migrating = ""
        self._is_open = True

    async def close(self) -> None:
        self._is_open = False
        for batches in (
            self._accepts,
            self._steps,
            self._outcomes,
            self._reports,
            self._notices,
        ):
            await batches.finish(self._timeout)
        await self._wake.close()
        await self._writing.close()
        await self._reading.close()

    async def check(self) -> None:
        await self._write(counts.touch)

    async def tidy(self) -> None:
        await self._write(counts.fold)

    # Queue

    async def accept(self, inbound: Inbound) -> bool:
        return await self._put(self._accepts, inbound)

    async def accept_all(self, inbounds: Sequence[Inbound]) -> Sequence[bool]:
        new = await self._write(sorting.accept, inbounds)
        if any(new):
            self._wake.wake()
        return new

    async def claim(
        self, limit: int, *, lease: float, owner: str, alone: bool, loop: LoopRule | None = None
    ) -> Claimed:
        return await self._write(
            claiming.claim,
            self._clock,
            limit=limit,
            lease=lease,
            owner=owner,
            alone=alone,
            loop=loop,
        )

    async def renew(self, tokens: Sequence[int], *, lease: float) -> frozenset[int]:
        return await self._write(lanes.renew, tokens, lease)

    async def settle(self, claim: Claim, settlement: Settlement) -> tuple[Send, ...]:
        return await self._put(self._steps, RunWrite(claim, settlement.drafts, settlement))

    async def release(self, owner: str) -> int:
        released = await self._write(lanes.release, owner)
        self._wake.wake()
        return released

    async def hand_back(self, owner: str, held: Collection[int]) -> int:
        ended = await self._write(claiming.hand_back, owner, held)
        self._wake.wake()
        return ended

    async def knows(self, inbound: Inbound) -> bool:
        return await self._read(sorting.knows, inbound)

    async def backlog(self, at_most: int) -> int:
        return await self._read(counts.backlog, at_most)

    async def overdue(self, limit: int) -> Sequence[Overdue]:
        await self._write(check, self._clock)
        return await self._read(claiming.overdue, limit)

    def listen(self) -> asyncio.Event:
        return self._wake.listen()

    # Presence

    async def join(self, owner: str) -> None:
        self._presence.join(owner)
        self._wake.attend()
        await self._wake.attended()

    async def leave(self) -> None:
        left = self._presence.leave()
        if left.owner:
            with suppress(StoreError, TimeoutError):
                async with asyncio.timeout(_LEAVE):
                    await self._write(self._presence.forget, left)

    async def release_dead(self) -> int:
        try:
            ended = await self._read(self._presence.find_ended)
        except StoreUnavailable:
            self._presence.extend_grace()
            raise
        if lost := self._presence.lost_session(ended):
            await self._write(self._presence.forget, lost)
            self._wake.attend()
        released = 0
        for dead in self._presence.dead(ended):
            released += await self._write(self._presence.take_over, dead)
        if released:
            self._wake.wake()
        return released

    # Ledger

    async def write(self, claim: Claim, drafts: Sequence[Draft]) -> tuple[Send, ...]:
        return await self._put(self._steps, RunWrite(claim, drafts))

    async def notify(self, message_id: int, draft: Draft, *, settled: bool = False) -> Send | None:
        return await self._put(self._notices, Notice(message_id, draft, settled))

    async def claim_sends(self, limit: int, *, lease: float, owner: str) -> ClaimedSends:
        return await self._write(ledger.claim, self._clock, limit=limit, lease=lease, owner=owner)

    async def hand_back_sends(self, owner: str, held: Collection[int]) -> int:
        ended = await self._write(ledger.hand_back, owner, held)
        self._wake.wake()
        return ended

    async def settle_send(self, claim: SendClaim, outcome: SendOutcome) -> None:
        await self._put(self._outcomes, Settled(claim, outcome))

    async def next_send_due(self) -> float | None:
        return await self._read(lanes.next_send_due)

    async def record_delivery(
        self, send_id: int | None, sid: str, reported: Delivery, *, account_sid: str
    ) -> bool:
        return await self._put(self._reports, Reported(send_id, sid, reported, account_sid))

    async def claim_unknown(self, *, lease: float) -> Inquiry | None:
        if not await self._read(unknown.is_due):
            return None
        return await self._within(unknown.claim, lease=lease)

    async def known_sids(self, inquiry: Inquiry, sids: Sequence[str]) -> frozenset[str] | None:
        return await self._read(unknown.known_sids, inquiry, sids)

    async def settle_unknown(self, verdicts: Sequence[Verdict]) -> Mapping[int, SendTrigger]:
        happened = await self._within(unknown.settle, verdicts)
        self._wake.wake()
        return happened

    # Requests

    async def request(self, request: SendRequest) -> tuple[Send, ...]:
        written = await self._write(send_requests.write, request)
        self._wake.wake()
        return written

    async def next_request_due(self) -> float | None:
        return await self._read(send_requests.next_due)

    # Webhooks are sorted in before they are answered: there is nothing to wait for.
    async def start_due(
        self,
        limit: int,
        *,
        sorted_until: int | None = None,  # noqa: ARG002 - the contract's
    ) -> int:
        started = await self._write(send_requests.start_due, self._clock, limit)
        self._wake.wake()
        return started

    async def sent_as(self, sid: str, *, account_sid: str) -> Send | None:
        return await self._read(send_requests.sent_as, sid, account_sid)

    # Inbox

    async def find(self, wanted: Filter) -> Sequence[Record]:
        return await self._read(inbox.find, wanted)

    async def search(self, wanted: Filter, phrase: Phrase, *, within: int) -> Found:
        return await self._read(inbox.search, wanted, phrase, within)

    async def show(self, message_id: int) -> History | None:
        return await self._read(inbox.show, message_id)

    async def replay(self, message_id: int) -> bool:
        replayed = await self._within(inbox.replay, message_id)
        self._wake.wake()
        return replayed

    async def drop(self, message_id: int) -> bool:
        dropped = await self._within(inbox.drop, message_id)
        self._wake.wake()
        return dropped

    async def counts(self, *, unresolved_after: float = 600.0) -> Counts:
        return await self._read(counts.glance, unresolved_after)

    async def prune(self, retention: Retention, limit: int) -> int:
        await self._write(check, self._clock)
        # Two transactions: a repeat that waits for its key to go need not wait for messages.
        keys = await self._write(pruning.prune_keys, retention.keys, limit)
        return keys + await self._within(pruning.prune, retention, limit)

    async def reduce(self, limit: int) -> int:
        return await self._within(pruning.reduce, limit)

    async def erase(self, address: str, limit: int) -> Erasure:
        addresses = await self.addresses_of(address)
        found = await self._read(pruning.of_person, addresses, limit)
        if not any(found):
            await self._write(aliases.forget, addresses)
        erased = await self._within(pruning.erase, found)
        self._wake.wake()
        return erased

    async def addresses_of(self, address: str) -> Sequence[str]:
        return await self._read(aliases.addresses_of, storable(address))

    # Conversations

    async def turns(self, wanted: TurnFilter) -> Sequence[Turn]:
        return await self._read(conversations.said, wanted)

    async def saved_state(self, lane: str) -> SavedState | None:
        return await self._read(conversations.saved_state, lane)

    # Outbox

    async def find_sends(self, wanted: SendFilter) -> Sequence[SendRecord]:
        return await self._read(sends.find, wanted)

    async def spending(self, since: float, limit: int) -> Spending:
        return await self._read(sends.spending, since, limit)

    async def show_send(self, send_id: int) -> SendRecord | None:
        return await self._read(sends.show, send_id)

    async def retry_send(self, send_id: int, *, unknown: bool = False) -> int | None:
        retried = await self._within(sends.retry, send_id, unknown=unknown)
        self._wake.wake()
        return retried

    async def cancel_send(self, send_id: int) -> bool:
        cancelled = await self._within(sends.cancel, send_id)
        self._wake.wake()
        return cancelled

    # Batches

    async def _step(self, batch: Sequence[RunWrite]) -> Sequence[tuple[Send, ...] | Exception]:
        results = await self._write(settling.settle, batch)
        self._wake.wake()
        return results

    async def _settle_sends(self, batch: Sequence[Settled]) -> Sequence[None]:
        results = await self._write(ledger.settle, batch)
        self._wake.wake()
        return results

    async def _record(self, batch: Sequence[Reported]) -> Sequence[bool]:
        return await self._write(deliveries.record, batch)

    async def _notify(self, batch: Sequence[Notice]) -> Sequence[Send | None]:
        results = await self._write(ledger.notify, batch)
        self._wake.wake()
        return results

    # Connections

    async def _put(self, batches: Batches[I, T], item: I) -> T:
        if not self._is_open:
            raise StoreUnavailable("the store is closed")
        return await batches.put(item)

    async def _write(
        self,
        work: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run one statement, or several that need no common transaction."""
        async with self._writing.acquire() as connection:
            return await work(connection, *args, **kwargs)

    async def _within(
        self,
        work: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Run within one transaction."""
        async with self._reading.transaction() as connection:
            return await work(connection, *args, **kwargs)

    async def _read(
        self,
        work: Callable[Concatenate[Connection, P], Awaitable[T]],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        async with self._reading.acquire() as connection:
            return await work(connection, *args, **kwargs)

    def _tell_migrating(self, what: str) -> None:
        self._migrating = f"{self._place}: {what}"

    async def _execute(self, statement: str, *values: str) -> None:
        async with self._writing.acquire() as connection:
            await connection.execute(statement, *values)
