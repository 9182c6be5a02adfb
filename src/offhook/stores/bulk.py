"""Act on many messages: chosen once, at a rate, and stoppable at any moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from offhook.concurrency import wait_for_event
from offhook.core.privacy import spellings
from offhook.errors import StoreError
from offhook.stores.api import Filter, Inbox, Record

Act = Callable[[Inbox, int], Awaitable[bool]]
"""Acts on one message; returns False when its state does not allow that."""

SHOWN: Final = 5
"""Messages shown of many: enough to see whether the right ones were chosen."""

REPLAYS_PER_SECOND: Final = 50.0
"""The default: each is a run of a handler, and new messages need their turn too."""

# Records come with their forms, 64 KiB at most: a page is some MB in the worst case.
_PAGE: Final = 200


@dataclass(slots=True)
class Chosen:
    """The messages that fit a filter at one moment.

    Attributes:
        ids: the oldest first: what is replayed lines up again in the order it came in.
        first: the records of the first few.
    """

    ids: list[int] = field(default_factory=list)
    first: list[Record] = field(default_factory=list)


@dataclass(slots=True)
class Progressed:
    """The progress of an action.

    Attributes:
        refused: messages that had gone to another state meanwhile.
        error: why it ended early, unless it was stopped.
    """

    matched: int
    done: int = 0
    refused: int = 0
    interrupted: bool = False
    error: str = ""

    @property
    def untouched(self) -> int:
        """Messages that were not reached."""
        return self.matched - self.done - self.refused


async def find(inbox: Inbox, wanted: Filter) -> list[Record]:
    """Return what fits, newest first: a sender is found in every channel."""
    senders = spellings(wanted.sender) if wanted.sender else ("",)
    records = [
        record for sender in senders for record in await inbox.find(replace(wanted, sender=sender))
    ]
    records.sort(key=lambda record: record.id, reverse=True)
    return records[: wanted.limit]


async def pages(inbox: Inbox, wanted: Filter) -> AsyncIterator[list[Record]]:
    """Yield what fits, newest first, in pages: nothing holds a million messages in memory."""
    left, before = wanted.limit, wanted.before_id
    while left > 0:
        page = await find(inbox, replace(wanted, limit=min(left, _PAGE), before_id=before))
        if not page:
            return
        yield page
        left, before = left - len(page), page[-1].id


async def choose(inbox: Inbox, wanted: Filter) -> Chosen:
    """Return what fits. Chosen once: what is replayed and dies again is not replayed again."""
    chosen = Chosen()
    async for page in pages(inbox, wanted):
        chosen.ids += [record.id for record in page]
        chosen.first = [*chosen.first, *page][-SHOWN:]
    chosen.ids.reverse()
    chosen.first.reverse()
    return chosen


async def act_on_all(
    inbox: Inbox,
    ids: Sequence[int],
    act: Act,
    *,
    rate: float | None,
    stop: asyncio.Event,
    so_far: Progressed,
) -> AsyncIterator[int]:
    """Act on each message in turn; yield its number when that is done.

    Args:
        inbox: where they are.
        ids: of the messages.
        act: done to each.
        rate: messages a second, None for as fast as it goes.
        stop: when it is set, this ends between two of them.
        so_far: written to.
    """
    loop = asyncio.get_running_loop()
    began = loop.time()
    for number, id_ in enumerate(ids):
        if rate is not None:
            await wait_for_event(stop, began + number / rate - loop.time())
        if stop.is_set():
            so_far.interrupted = True
            return
        try:
            acted = await act(inbox, id_)
        except StoreError as error:
            so_far.error = str(error)
            return
        so_far.done += acted
        so_far.refused += not acted
        yield id_
