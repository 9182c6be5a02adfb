"""The store's statements, and the conditions of its partial indexes."""

from collections.abc import Collection
from enum import StrEnum
from typing import Final

from offhook.core.keys import Kind
from offhook.core.lifecycle import (
    LIVE,
    SendState,
    SendTrigger,
    State,
    Trigger,
    send_sources,
    sources,
)
from offhook.stores.sql import SqlFiles, one_of


def before(trigger: Trigger) -> str:
    """Return the condition under which `trigger` may happen to a message."""
    return f"state IN {one_of(sources(trigger))}"


def before_send(trigger: SendTrigger) -> str:
    """Return the condition under which `trigger` may happen to a send."""
    return f"state IN {one_of(send_sources(trigger))}"


def either(states: Collection[StrEnum]) -> str:
    """Return the condition that a state is one of these, in the order of their definition."""
    kind = type(next(iter(states)))
    return "(" + " OR ".join(f"state = '{state}'" for state in kind if state in states) + ")"


# Written as in the partial indexes, or SQLite does not use them.
IS_LIVE: Final = either(LIVE)
IS_SET_ASIDE: Final = either(set(State) - LIVE - {State.DONE})
IS_MESSAGE: Final = f"kind = '{Kind.MESSAGE}'"
IS_WAITING: Final = f"state = '{State.WAITING}'"
SEND_IS_LIVE: Final = f"state IN {one_of({SendState.PENDING, SendState.SENDING})}"
SEND_IS_UNSETTLED: Final = (
    f"(state <> '{SendState.SENT}' AND state <> '{SendState.PENDING}' "
    f"AND state <> '{SendState.SENDING}')"
)
SEND_IS_UNKNOWN: Final = f"state = '{SendState.UNKNOWN}'"

SQL: Final = SqlFiles(
    "offhook.stores.sqlite",
    is_live=IS_LIVE,
    send_is_live=SEND_IS_LIVE,
    send_is_unsettled=SEND_IS_UNSETTLED,
    send_is_unknown=SEND_IS_UNKNOWN,
)
