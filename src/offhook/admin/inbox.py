"""Query the inbox, page by page, and group dead messages by their errors."""

from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Final

from offhook.admin.query import InboxQuery
from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.core.search import SCAN_LIMIT
from offhook.observe.redaction import brief
from offhook.stores.api import Filter, Inbox, Record
from offhook.stores.bulk import Chosen, choose, find, messages, pages

PAGE: Final = 50
GROUPED: Final = 1_000
"""Dead messages that are grouped by their errors, the newest."""

_NO_LIMIT: Final = 2**31


@dataclass(frozen=True, slots=True)
class Listing:
    """A page of messages.

    Attributes:
        before: where the next page begins, as `InboxQuery.before`; None on the last page.
        looked: whether the text search ended at its limit, so that older messages may match.
    """

    records: Sequence[Record]
    before: int | None = None
    looked: bool = False


@dataclass(frozen=True, slots=True)
class ErrorGroup:
    """Dead messages with the same error.

    Attributes:
        error: its type, or an explanation.
        latest: the newest of them.
    """

    error: str
    count: int
    latest: Record


@dataclass(frozen=True, slots=True)
class ErrorGroups:
    """The groups of the newest dead messages, the largest first.

    Attributes:
        within: how many were looked at.
        all: whether there are no more.
    """

    groups: Sequence[ErrorGroup]
    within: int
    all: bool


async def error_groups(inbox: Inbox) -> ErrorGroups:
    """Return the newest thousand dead messages, grouped by their errors.

    Raises:
        StoreError: the store cannot be read.
    """
    dead = [one async for one in _each(inbox, Filter(state=State.DEAD, limit=GROUPED))]
    found: dict[str, list[Record]] = {}
    for record in dead:
        found.setdefault(error_of(record), []).append(record)
    groups = [ErrorGroup(error, len(all_), all_[0]) for error, all_ in found.items()]
    groups.sort(key=lambda one: -one.count)
    return ErrorGroups(groups, len(dead), len(dead) < GROUPED)


def error_of(record: Record) -> str:
    """Return by what a dead message is grouped; empty if its error has neither type nor cause."""
    return brief(record.error, reveal=False)


async def _each(inbox: Inbox, wanted: Filter) -> AsyncIterator[Record]:
    async for page in pages(messages(inbox, wanted)):
        for record in page:
            yield record


async def _with_error(inbox: Inbox, asked: InboxQuery) -> Listing:
    """Return a page of the messages with an error, among the newest so many."""
    found: list[Record] = []
    looked = 0
    async for record in _each(inbox, asked.filter(limit=SCAN_LIMIT)):
        looked += 1
        if error_of(record) == asked.error:
            found.append(record)
        if len(found) > PAGE:
            return Listing(found[:PAGE], found[PAGE - 1].id)
        last = record.id
    return Listing(found, last, looked=True) if looked == SCAN_LIMIT else Listing(found)


async def listing(inbox: Inbox, asked: InboxQuery) -> Listing:
    """Return a page of matching messages, newest first.

    Raises:
        StoreError: the store cannot be read.
    """
    phrase = asked.phrase
    if phrase is not None:
        found = await inbox.search(asked.filter(limit=PAGE), phrase, within=SCAN_LIMIT)
        is_full = len(found.records) == PAGE
        return Listing(found.records, found.before, looked=found.before is not None and not is_full)
    if asked.error:
        return await _with_error(inbox, asked)
    if asked.address and asked.kind is not Kind.MESSAGE:
        return Listing(())
    records = await find(inbox, asked.filter(limit=PAGE + 1))
    more = len(records) > PAGE
    return Listing(records[:PAGE], records[PAGE - 1].id if more else None)


async def select(inbox: Inbox, asked: InboxQuery) -> Chosen[Record]:
    """Return all matching messages, by state, kind and number.

    Raises:
        StoreError: the store cannot be read.
    """
    every = messages(inbox, asked.filter(limit=_NO_LIMIT))
    return await choose(every, (lambda one: error_of(one) == asked.error) if asked.error else None)
