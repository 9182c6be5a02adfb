"""Leases on lanes, the same for messages and for sends. `sql/lanes.sql` has the order of locks."""

from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Final

from offhook.stores.postgres.functions import SQL, Function
from offhook.stores.postgres.pool import Connection

RELEASE: Final = Function("release")

FUNCTIONS: Final = (RELEASE,)


async def next_send_due(connection: Connection) -> float | None:
    """Return the seconds until a send falls due. Reads only."""
    due: float | None = await connection.fetchval(SQL["next_send_due"])
    return due


async def lock(
    connection: Connection, touch: str, find: Callable[[], Awaitable[Iterable[bytes | None]]]
) -> list[bytes]:
    """Lock the lanes that are found, and have them looked at. Within a transaction.

    What is in them may be moved to lanes of the same persons until they are locked, so they are
    looked for again.
    """
    locked: set[bytes] = set()
    while new := {lane for lane in await find() if lane is not None} - locked:
        await connection.execute(SQL[touch], sorted(new))
        locked |= new
    return sorted(locked)


async def renew(connection: Connection, tokens: Sequence[int], lease: float) -> frozenset[int]:
    """Prolong leases, of messages and of sends; return those that are gone."""
    rows = await connection.fetch(SQL["renew"], list(tokens), lease)
    return frozenset(tokens) - {row["token"] for row in rows}


async def release(connection: Connection, owner: str) -> int:
    """Let a dead worker's leases run out now."""
    count: int = await connection.fetchval(RELEASE.call, owner)
    return count
