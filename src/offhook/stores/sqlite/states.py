"""The states of conversations. Every function runs within the writer's transaction."""

import json
import sqlite3
from collections.abc import Iterable, Sequence

from offhook.stores.api import Claim
from offhook.stores.sqlite.conditions import SQL


def save(connection: sqlite3.Connection, now: int, claim: Claim, value: bytes) -> None:
    """Save the state that a run has changed, if it is still the one that it was given."""
    if not value:
        statement = SQL["delete_state"]
    elif claim.state is None:
        statement = SQL["save_first_state"]
    else:
        statement = SQL["save_state"]
    connection.execute(
        statement,
        {
            "lane": claim.lane,
            "version": 0 if claim.state is None else claim.state.version,
            "token": claim.token,
            "now": now,
            "value": value,
            "id": claim.id,
        },
    )


def prune(connection: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete states that have not been used since a moment."""
    return connection.execute(SQL["prune_states"], (before, limit)).rowcount


def of_person(
    connection: sqlite3.Connection, addresses: Sequence[str], limit: int
) -> Sequence[str]:
    """Find a person's states; return their conversations. Reads all."""
    among = f"({','.join('?' * len(addresses))})"
    rows = connection.execute(SQL.filled("states_of_person", addresses=among), (*addresses, limit))
    return [conversation for (conversation,) in rows.fetchall()]


def erase(connection: sqlite3.Connection, conversations: Iterable[str]) -> int:
    """Delete states, whatever is under way in their conversations; return how many."""
    given = json.dumps(list(conversations))
    return connection.execute(SQL["erase_states"], (given,)).rowcount
