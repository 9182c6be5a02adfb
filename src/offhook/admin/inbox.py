"""Query the inbox, page by page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offhook.admin.query import InboxQuery
from offhook.core.keys import Kind
from offhook.core.search import SCAN_LIMIT
from offhook.stores.api import Inbox, Record
from offhook.stores.bulk import Chosen, choose, find, messages

PAGE: Final = 50
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
    return await choose(messages(inbox, asked.filter(limit=_NO_LIMIT)))
