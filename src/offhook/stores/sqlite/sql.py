"""The life cycle as SQL: states are named by `offhook.core.lifecycle` and nowhere else."""

from collections.abc import Iterable
from enum import StrEnum
from typing import Final

from offhook.core.keys import Kind
from offhook.core.lifecycle import (
    LIVE,
    MAY_HAVE_LEFT,
    SendState,
    SendTrigger,
    State,
    Trigger,
    send_sources,
    sources,
)


def one_of(states: Iterable[StrEnum]) -> str:
    """Return the states as SQL's list, in the order of their definition."""
    chosen = set(states)
    kind = type(next(iter(chosen)))
    return "(" + ", ".join(f"'{state}'" for state in kind if state in chosen) + ")"


def before(trigger: Trigger) -> str:
    """Return the condition under which `trigger` may happen to a message."""
    return f"state IN {one_of(sources(trigger))}"


def before_send(trigger: SendTrigger) -> str:
    """Return the condition under which `trigger` may happen to a send."""
    return f"state IN {one_of(send_sources(trigger))}"


# Written as in the partial indexes, or SQLite does not use them.
IS_LIVE: Final = f"state IN {one_of(LIVE)}"
IS_SET_ASIDE: Final = f"state IN {one_of(set(State) - LIVE - {State.DONE})}"
IS_MESSAGE: Final = f"kind = '{Kind.MESSAGE}'"
IS_WAITING: Final = f"state = '{State.WAITING}'"
SEND_MAY_HAVE_LEFT: Final = f"state IN {one_of(MAY_HAVE_LEFT)}"
SEND_IS_LIVE: Final = f"state IN {one_of({SendState.PENDING, SendState.SENDING})}"
SEND_IS_UNSETTLED: Final = (
    f"state NOT IN ('{SendState.SENT}', '{SendState.PENDING}', '{SendState.SENDING}')"
)
