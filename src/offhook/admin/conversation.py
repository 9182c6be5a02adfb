"""The conversation of a message: the last turns, and the state that handlers keep of it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from offhook.conversations.state import shown
from offhook.core.keys import Kind
from offhook.core.turns import Turn
from offhook.stores.api import Conversations, Record, TurnFilter
from offhook.stores.people import addresses_in_channel

_TURNS: Final = 10


@dataclass(frozen=True, slots=True)
class Conversation:
    """What the message's page shows of its conversation.

    Attributes:
        turns: the last ones, the oldest first.
        state: its keys, each with its value as JSON, shortened.
    """

    turns: Sequence[Turn]
    state: Sequence[tuple[str, str]]


async def conversation_of(store: Conversations, record: Record) -> Conversation | None:
    """Return the conversation of a message; None for a status or a request not verified yet.

    Raises:
        StoreError: the store cannot be read.
    """
    if record.kind is not Kind.MESSAGE:
        return None
    persons = await addresses_in_channel(store, record.sender)
    turns = await store.turns(TurnFilter(record.lane, persons, _TURNS))
    saved = await store.saved_state(record.lane)
    return Conversation(turns, shown(b"" if saved is None else saved.value))
