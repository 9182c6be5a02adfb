"""The embedded store: each method is one transaction of the engine's."""

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Concatenate, ParamSpec, TypeVar

from offhook.clock import NS_OF_MS
from offhook.core.cost import Spending
from offhook.core.inbound import Inbound
from offhook.core.lifecycle import Delivery, SendTrigger
from offhook.core.loop_detection import LoopRule
from offhook.core.messages import Send
from offhook.core.search import Phrase
from offhook.core.texts import well_formed
from offhook.core.turns import Turn
from offhook.core.unknown_sends import Verdict
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
from offhook.stores.rows import Settled
from offhook.stores.sql import SENDS
from offhook.stores.sqlite import (
    aliases,
    conversations,
    counts,
    inbox,
    lanes,
    ledger,
    pruning,
    queue,
    send_requests,
    sends,
    settling,
    sorting,
    unknown,
)
from offhook.stores.sqlite.engine import Engine
from offhook.stores.sqlite.presence import Presence, folder_of
from offhook.stores.sqlite.schema import migrate

P = ParamSpec("P")
T = TypeVar("T")


class SqliteStore:
    """Keeps `api.Store` in a file.

    Args:
        path: the database's file. It, its log and its lock are readable by their owner alone.
        create: whether to make it where there is none.
        follow: whether to go on when another file takes its name.

    Attributes:
        path: the same.
    """

    def __init__(self, path: Path, *, create: bool = True, follow: bool = True) -> None:
        self._engine = Engine(path, create=create, follow=follow)
        self._clock = self._engine.clock
        self._presence = Presence(folder_of(path))
        self._migrating = ""
        self.path = path

    @property
    def migrating(self) -> str:
        return self._migrating

    async def open(self) -> None:
        try:
            await self._engine.open(self._migrate)
        finally:
            self._migrating = ""

    async def close(self) -> None:
        await self._engine.close()

    async def check(self) -> None:
        await self._engine.write(sorting.touch)

    async def tidy(self) -> None:
        await self._engine.checkpoint()

    # Queue

    def accept(self, inbound: Inbound) -> Awaitable[bool]:
        return self._engine.accept(inbound)

    async def accept_all(self, inbounds: Sequence[Inbound]) -> Sequence[bool]:
        return await self._engine.write(
            lambda connection, now: sorting.accept(connection, inbounds, now), wakes=True
        )

    def now(self) -> int:
        return self._clock.now_ns()

    async def positions(self) -> Mapping[bytes, int]:
        return await self._engine.read(sorting.read_positions)

    async def sort(
        self,
        arrived: Sequence[tuple[Inbound, int]],
        positions: Mapping[bytes, int],
        before: Mapping[bytes, int],
    ) -> Sequence[bool]:
        return await self._write_and_wake(sorting.sort, arrived, positions, before)

    async def claim(
        self, limit: int, *, lease: float, owner: str, alone: bool, loop: LoopRule | None = None
    ) -> Claimed:
        claimed = await self._engine.write(
            lambda connection, now: queue.claim(
                connection,
                now,
                limit=limit,
                lease=lease,
                owner=owner,
                alone=alone,
                loop=loop,
                ahead=self._clock.ahead(),
            )
        )
        step = self._clock.step()
        return replace(claimed, step=step) if step else claimed

    async def renew(self, tokens: Sequence[int], *, lease: float) -> frozenset[int]:
        return await self._write(lanes.renew, tokens, lease)

    async def settle(self, claim: Claim, settlement: Settlement) -> tuple[Send, ...]:
        return await self._engine.put(settling.settle, (claim, settlement))

    async def release(self, owner: str) -> int:
        return await self._write_and_wake(lanes.release, owner)

    async def hand_back(self, owner: str, held: Collection[int]) -> int:
        return await self._write_and_wake(queue.hand_back, owner, held)

    async def knows(self, inbound: Inbound) -> bool:
        return await self._engine.read(lambda connection: sorting.knows(connection, inbound.key))

    async def backlog(self, at_most: int) -> int:
        return await self._engine.read(lambda connection: counts.backlog(connection, at_most))

    async def overdue(self, limit: int) -> Sequence[Overdue]:
        return await self._engine.read(
            lambda connection: queue.overdue(connection, self._clock.now(), limit)
        )

    def listen(self) -> asyncio.Event:
        return self._engine.wake.listen()

    # Presence

    async def join(self, owner: str) -> None:
        self._presence.join(owner)

    async def leave(self) -> None:
        self._presence.leave()

    async def release_dead(self) -> int:
        released = 0
        for path, owner in list(self._presence.dead()):
            released += await self.release(owner)
            path.unlink(missing_ok=True)
        return released

    # Ledger

    async def write(self, claim: Claim, drafts: Sequence[Draft]) -> tuple[Send, ...]:
        return await self._write_and_wake(settling.write, claim, drafts)

    async def notify(self, message_id: int, draft: Draft, *, settled: bool = False) -> Send | None:
        return await self._write_and_wake(ledger.notify, message_id, draft, settled=settled)

    async def claim_sends(self, limit: int, *, lease: float, owner: str) -> ClaimedSends:
        return await self._write(ledger.claim, limit=limit, lease=lease, owner=owner)

    async def hand_back_sends(self, owner: str, held: Collection[int]) -> int:
        return await self._write_and_wake(ledger.hand_back, owner, held)

    async def settle_send(self, claim: SendClaim, outcome: SendOutcome) -> None:
        await self._engine.put(ledger.settle, Settled(claim, outcome))

    async def next_send_due(self) -> float | None:
        return await self._engine.read(
            lambda connection: lanes.next_due(connection, SENDS, self._clock.now())
        )

    async def record_delivery(
        self, send_id: int | None, sid: str, reported: Delivery, *, account_sid: str
    ) -> bool:
        return await self._write(
            ledger.record_delivery, send_id, sid, reported, account_sid=account_sid
        )

    async def claim_unknown(self, *, lease: float) -> Inquiry | None:
        # A read delays nothing; a claim that finds nothing may delay other writers.
        if not await self._engine.read(
            lambda connection: unknown.is_due(connection, self._clock.now())
        ):
            return None
        return await self._write(unknown.claim, lease=lease)

    async def known_sids(self, inquiry: Inquiry, sids: Sequence[str]) -> frozenset[str] | None:
        return await self._engine.read(
            lambda connection: unknown.known_sids(connection, self._clock.now(), inquiry, sids)
        )

    async def settle_unknown(self, verdicts: Sequence[Verdict]) -> Mapping[int, SendTrigger]:
        return await self._write_and_wake(unknown.settle, verdicts)

    # Requests

    async def request(self, request: SendRequest) -> tuple[Send, ...]:
        return await self._write_and_wake(send_requests.write, request)

    async def next_request_due(self) -> float | None:
        return await self._engine.read(
            lambda connection: send_requests.next_due(connection, self._clock.now())
        )

    async def start_due(self, limit: int, *, sorted_until: int | None = None) -> int:
        until = None if sorted_until is None else sorted_until // NS_OF_MS
        return await self._write_and_wake(send_requests.start_due, limit, until)

    async def sent_as(self, sid: str, *, account_sid: str) -> Send | None:
        return await self._engine.read(
            lambda connection: send_requests.sent_as(connection, sid, account_sid)
        )

    # Inbox

    async def find(self, wanted: Filter) -> Sequence[Record]:
        return await self._engine.read(
            lambda connection: inbox.find(connection, wanted, self._clock.ahead())
        )

    async def search(self, wanted: Filter, phrase: Phrase, *, within: int) -> Found:
        return await self._engine.read(
            lambda connection: inbox.search(connection, wanted, phrase, within, self._clock.ahead())
        )

    async def show(self, message_id: int) -> History | None:
        return await self._engine.read(
            lambda connection: inbox.show(
                connection, message_id, self._clock.now(), self._clock.ahead()
            )
        )

    async def replay(self, message_id: int) -> bool:
        return await self._write_and_wake(inbox.replay, message_id)

    async def drop(self, message_id: int) -> bool:
        return await self._write_and_wake(inbox.drop, message_id)

    async def counts(self, *, unresolved_after: float = 600.0) -> Counts:
        return await self._engine.read(
            lambda connection: counts.glance(
                connection, self._clock.now(), unresolved_after=int(unresolved_after * 1000)
            )
        )

    async def prune(self, retention: Retention, limit: int) -> int:
        return await self._write(pruning.prune, retention, limit)

    async def reduce(self, limit: int) -> int:
        return await self._write(pruning.reduce, limit)

    async def erase(self, address: str, limit: int) -> Erasure:
        # Found by reading, which may take its time: there is no index that only this would need.
        addresses = await self.addresses_of(address)
        found = await self._engine.read(
            lambda connection: pruning.of_person(connection, addresses, limit)
        )
        if not any(found):
            await self._write(aliases.forget, addresses)
        return await self._write_and_wake(pruning.erase, found)

    async def addresses_of(self, address: str) -> Sequence[str]:
        return await self._engine.read(
            lambda connection: aliases.addresses_of(connection, well_formed(address))
        )

    # Conversations

    async def turns(self, wanted: TurnFilter) -> Sequence[Turn]:
        return await self._engine.read(
            lambda connection: conversations.said(connection, self._clock.ahead(), wanted)
        )

    async def saved_state(self, lane: str) -> SavedState | None:
        return await self._engine.read(
            lambda connection: conversations.saved_state(connection, self._clock.now(), lane)
        )

    # Outbox

    async def find_sends(self, wanted: SendFilter) -> Sequence[SendRecord]:
        return await self._engine.read(
            lambda connection: sends.find(connection, wanted, self._clock.ahead())
        )

    async def spending(self, since: float, limit: int) -> Spending:
        return await self._engine.read(
            lambda connection: sends.spending(connection, since, limit, self._clock.ahead())
        )

    async def show_send(self, send_id: int) -> SendRecord | None:
        return await self._engine.read(
            lambda connection: sends.show(connection, send_id, self._clock.ahead())
        )

    async def retry_send(self, send_id: int, *, unknown: bool = False) -> int | None:
        return await self._write_and_wake(sends.retry, send_id, unknown=unknown)

    async def cancel_send(self, send_id: int) -> bool:
        return await self._write_and_wake(sends.cancel, send_id)

    async def _write(
        self,
        work: Callable[Concatenate[sqlite3.Connection, int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        return await self._engine.write(lambda file, now: work(file, now, *args, **kwargs))

    async def _write_and_wake(
        self,
        work: Callable[Concatenate[sqlite3.Connection, int, P], T],
        *args: P.args,
        **kwargs: P.kwargs,
    ) -> T:
        """Write what workers may have to look at."""
        return await self._engine.write(
            lambda file, now: work(file, now, *args, **kwargs), wakes=True
        )

    def _migrate(self, connection: sqlite3.Connection) -> None:
        self._migrating = f"{self._engine.path}: its schema is being migrated"
        migrate(connection)
