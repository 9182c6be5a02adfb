"""The conversation of a message: the last turns, what is scheduled, and what handlers keep."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offhook.conversations.state import shown
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState
from offhook.core.turns import Turn
from offhook.stores.api import Record, SendFilter, SendRecord, Store, TurnFilter
from offhook.stores.bulk import find_sends
from offhook.stores.people import addresses_in_channel

_TURNS: Final = 10
_SCHEDULED: Final = 20


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the message's page shows of its conversation.

    Attributes:
        turns: the last ones, the oldest first.
        scheduled: sends to the person whose time has not come, in the order of their times.
        state: its keys, each with its value as JSON, shortened.
    """

    turns: Sequence[Turn]
    scheduled: Sequence[SendRecord]
    state: Sequence[tuple[str, str]]


async def conversation_of(store: Store, record: Record) -> Conversation | None:
    """Return the conversation of a message; None for a status or a request not verified yet.

    Raises:
        StoreError: the store cannot be read.
    """
    if record.kind is not Kind.MESSAGE:
        return None
    persons = await addresses_in_channel(store, record.sender)
    turns = await store.turns(TurnFilter(record.lane, persons, _TURNS))
    saved = await store.saved_state(record.lane)
    wanted = SendFilter(
        SendState.SCHEDULED, to=record.sender, account=record.account_sid, limit=_SCHEDULED
    )
    scheduled = sorted(await find_sends(store, wanted), key=lambda send: send.due or 0.0)
    return Conversation(turns, scheduled, shown(b"" if saved is None else saved.value))
