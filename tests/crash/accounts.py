"""What the store says in the end, asked for through its port: any store will do."""

import asyncio
from collections.abc import Sequence

from offhook.arrivals.waiting import counts
from offhook.core.keys import Kind
from offhook.core.lifecycle import LIVE, SendState, State
from offhook.core.messages import Send
from offhook.errors import StoreUnavailable
from offhook.stores.api import Filter, Record
from testing.stores import opened

# Seconds until all has to be settled, once nothing is killed any more. A send that was refused five
# times in a row waits for 256 s (core/backoff.py); of thousands, one may be as unlucky.
PATIENCE = 300.0
_PAUSE = 0.2
_PAGE = 1000


class Accounts:
    """The end state of messages and sends.

    The store is opened for each question, and closed: one that stays open on a file keeps its log
    from being deleted, and would hide that others have lost their locks on it.

    Args:
        url: of the store.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    async def running(self) -> frozenset[str]:
        """Return the SIDs of the messages whose runs are under way, once the store is reachable."""
        wanted = Filter(state=State.RUNNING, kind=Kind.MESSAGE, limit=10_000)
        while True:
            try:
                async with opened(self._url) as store:
                    return frozenset(record.sid for record in await store.find(wanted))
            except StoreUnavailable:
                await asyncio.sleep(_PAUSE)

    async def until_settled(self) -> None:
        """Wait until no message is live and no send on its way.

        Raises:
            TimeoutError: it takes too long; the verdict then says what is not settled.
        """
        async with asyncio.timeout(PATIENCE):
            while not await self._is_settled():  # noqa: ASYNC110 - other processes settle it
                await asyncio.sleep(_PAUSE)

    async def messages(self, kind: Kind = Kind.MESSAGE) -> Sequence[Record]:
        """Return all messages, the newest first."""
        found: list[Record] = []
        before: int | None = None
        async with opened(self._url) as store:
            while page := await store.find(Filter(kind=kind, before_id=before, limit=_PAGE)):
                found += page
                before = page[-1].id
        return found

    async def sends(self, messages: Sequence[Record]) -> dict[str, tuple[Send, ...]]:
        """Return the ledger's rows, by the SID of their message."""
        async with opened(self._url) as store:
            histories = [await store.show(message.id) for message in messages]
        return {history.record.sid: history.sends for history in histories if history is not None}

    async def _is_settled(self) -> bool:
        try:
            async with opened(self._url) as store:
                found = await counts(store)
        except StoreUnavailable:
            return False
        live = sum(found.messages.get(state, 0) for state in LIVE)
        on_their_way = (SendState.PENDING, SendState.SENDING)
        return not live and not sum(found.sends.get(state, 0) for state in on_their_way)
