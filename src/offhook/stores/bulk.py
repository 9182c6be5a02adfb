"""Act on many messages or sends: chosen once, at a rate, and stoppable at any moment."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Final, Generic, TypeVar

from offhook.concurrency import wait_for_event
from offhook.core.privacy import spellings
from offhook.errors import StoreError
from offhook.stores.api import Filter, Inbox, Outbox, Record, SendFilter, SendRecord

R = TypeVar("R", bound=Record | SendRecord)

Act = Callable[[int], Awaitable[int | None]]
"""Acts on what has a number; returns its number now, None when its state does not allow that."""

SHOWN: Final = 5
"""Shown of many: enough to see whether the right ones were chosen."""

REPLAYS_PER_SECOND: Final = 50.0
"""The default: each is a run of a handler, and new messages need their turn too."""

RETRIES_PER_SECOND: Final = 50.0
"""The default: each is a request to Twilio, which new replies need too."""

# Records come with their forms, 64 KiB at most: a page is some MB in the worst case.
_PAGE: Final = 200


@dataclass(frozen=True, slots=True)
class Listing(Generic[R]):
    """What fits a filter, page by page.

    Attributes:
        find: returns so many that fit, newest first; of those before a number, if one is given.
        limit: how many are listed at most.
        before: the number before which the first page begins; None for the newest.
    """

    find: Callable[[int, int | None], Awaitable[list[R]]]
    limit: int
    before: int | None = None


def messages(inbox: Inbox, wanted: Filter) -> Listing[Record]:
    """Return the messages that fit: a sender is found in every channel."""

    async def page(limit: int, before: int | None) -> list[Record]:
        return await find(inbox, replace(wanted, limit=limit, before_id=before))

    return Listing(page, wanted.limit, wanted.before_id)


def sends(outbox: Outbox, wanted: SendFilter) -> Listing[SendRecord]:
    """Return the sends that fit: a recipient is found in every channel."""

    async def page(limit: int, before: int | None) -> list[SendRecord]:
        return await find_sends(outbox, replace(wanted, limit=limit, before_id=before))

    return Listing(page, wanted.limit, wanted.before_id)


@dataclass(slots=True)
class Chosen(Generic[R]):
    """What fits a filter at one moment.

    Attributes:
        ids: the oldest first: what is replayed lines up again in the order it came in.
        first: the records of the first few.
    """

    ids: list[int] = field(default_factory=list)
    first: list[R] = field(default_factory=list)


@dataclass(slots=True)
class Progressed:
    """The progress of an action.

    Attributes:
        refused: those that had gone to another state meanwhile.
        error: why it ended early, unless it was stopped.
    """

    matched: int
    done: int = 0
    refused: int = 0
    interrupted: bool = False
    error: str = ""

    @property
    def untouched(self) -> int:
        """Those that were not reached."""
        return self.matched - self.done - self.refused


async def find(inbox: Inbox, wanted: Filter) -> list[Record]:
    """Return what fits, newest first: a sender is found in every channel."""
    senders = spellings(wanted.sender) if wanted.sender else ("",)
    records = [
        record for sender in senders for record in await inbox.find(replace(wanted, sender=sender))
    ]
    records.sort(key=lambda record: record.id, reverse=True)
    return records[: wanted.limit]


async def find_sends(outbox: Outbox, wanted: SendFilter) -> list[SendRecord]:
    """Return what fits, newest first: a recipient is found in every channel."""
    recipients = spellings(wanted.to) if wanted.to else ("",)
    records = [
        record for to in recipients for record in await outbox.find_sends(replace(wanted, to=to))
    ]
    records.sort(key=lambda record: record.id, reverse=True)
    return records[: wanted.limit]


async def pages(listing: Listing[R]) -> AsyncIterator[list[R]]:
    """Yield what fits, newest first, in pages: nothing holds a million messages in memory."""
    left = listing.limit
    page = await listing.find(min(left, _PAGE), listing.before)
    while page:
        yield page
        left -= len(page)
        page = await listing.find(min(left, _PAGE), page[-1].id) if left > 0 else []


async def choose(
    listing: Listing[R],
    fits: Callable[[R], bool] | None = None,
    look: Callable[[Sequence[R]], Awaitable[None]] | None = None,
) -> Chosen[R]:
    """Return what fits. Chosen once: what is replayed and dies again is not replayed again.

    Args:
        listing: what fits a filter.
        fits: whether one of that fits as well; None if all do.
        look: called with what fits of each page.
    """
    chosen: Chosen[R] = Chosen()
    async for every in pages(listing):
        page = every if fits is None else [record for record in every if fits(record)]
        if look is not None:
            await look(page)
        chosen.ids += [record.id for record in page]
        chosen.first = [*chosen.first, *page][-SHOWN:]
    chosen.ids.reverse()
    chosen.first.reverse()
    return chosen


async def act_on_all(
    ids: Sequence[int],
    act: Act,
    *,
    rate: float | None,
    stop: asyncio.Event,
    so_far: Progressed,
) -> AsyncIterator[int]:
    """Act on each in turn; yield its number when that is done.

    Args:
        ids: of the messages, or the sends.
        act: done to each.
        rate: how many a second, None for as fast as it goes.
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
            acted = await act(id_) is not None
        except StoreError as error:
            so_far.error = str(error)
            return
        so_far.done += acted
        so_far.refused += not acted
        yield id_
