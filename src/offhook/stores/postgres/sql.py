"""The life cycle as SQL: states are named by `offhook.core.lifecycle` and nowhere else."""

from collections.abc import Iterable
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from offhook.core.lifecycle import SendTrigger, Trigger, send_sources, sources
from offhook.core.texts import well_formed as valid

MESSAGES: Final = 0
SENDS: Final = 1


def one_of(states: Iterable[StrEnum]) -> str:
    """Return the states as SQL's list, in the order of their definition."""
    chosen = set(states)
    kind = type(next(iter(chosen)))
    return "(" + ", ".join(f"'{state}'" for state in kind if state in chosen) + ")"


def before(trigger: Trigger, table: str = "messages") -> str:
    """Return the condition under which `trigger` may happen to a message."""
    return f"{table}.state IN {one_of(sources(trigger))}"


def before_send(trigger: SendTrigger, table: str = "sends") -> str:
    """Return the condition under which `trigger` may happen to a send."""
    return f"{table}.state IN {one_of(send_sources(trigger))}"


IS_LIVE: Final = "resting IS NULL"
"""A message that has its place in a lane, or a send that has not left; see the first migration."""


def storable(text: str) -> str:
    """Return a text as a column can hold it.

    PostgreSQL's text does not know NUL either. A form may hold it, and is itself stored as the
    bytes that came.
    """
    return valid(text).replace("\0", "\N{REPLACEMENT CHARACTER}")


def lane_key(lane: str) -> bytes:
    """Return the 16 bytes that stand for a lane. Of two lanes that collide, nobody will know."""
    return blake2b(storable(lane).encode(), digest_size=16).digest()


def seconds_after(moment: str, seconds: str) -> str:
    """Return the moment so many seconds later, as SQL."""
    return f"{moment} + make_interval(secs => {seconds})"


NOW: Final = "(clock_timestamp() + (SELECT distance FROM offhook.clock))"
"""The store's time; `_now` in functions."""


def epoch(moment: str) -> str:
    """Return a moment of the store's as seconds since the epoch by the server's clock, as SQL."""
    return f"extract(epoch FROM {moment} - (SELECT distance FROM offhook.clock))::float8"


def stored_moment(epoch: str) -> str:
    """Return what `epoch` was made from, as SQL."""
    return f"to_timestamp({epoch}) + (SELECT distance FROM offhook.clock)"
