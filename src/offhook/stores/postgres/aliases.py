"""Lanes of one person: a number's and those of the user ids that were seen with it."""

from collections.abc import Sequence
from typing import Final

from offhook.core.inbound import Inbound
from offhook.core.keys import person_of
from offhook.core.privacy import spellings
from offhook.stores.postgres.functions import SQL, Function
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.values import lane_key, storable

RESOLVE: Final = Function("resolve")
_LEARN: Final = Function("learn")
_GATHER: Final = Function("gather")

FUNCTIONS: Final = (RESOLVE, _LEARN, _GATHER)


async def learn(connection: Connection, batch: Sequence[Inbound]) -> None:
    """Remember which lanes are one person's, and put together what is in them.

    In transactions of their own, before that which stores the webhooks: it has other locks by then.
    """
    named = {one.alias: one.lane for one in batch if one.alias and one.alias != one.lane}
    if named:
        columns = zip(*(_columns(alias, lane) for alias, lane in named.items()), strict=True)
        await connection.execute(_LEARN.call, *columns)
    aliases = [lane_key(alias) for alias in {one.alias for one in batch if one.alias}]
    rows = await connection.fetch(
        "SELECT DISTINCT lane FROM offhook.aliases WHERE alias = ANY($1::bytea[])", aliases
    )
    await connection.execute(_GATHER.call, [row["lane"] for row in rows])


async def gather(connection: Connection) -> None:
    """Put together what is in lanes of one person, where something has ended."""
    await connection.execute(_GATHER.call, None)


async def addresses_of(connection: Connection, address: str) -> tuple[str, ...]:
    """Return all addresses of a person. Reads only."""
    found: dict[str, None] = {}
    new = list(spellings(address))
    while new:
        found.update(dict.fromkeys(new))
        rows = await connection.fetch(SQL["addresses_of"], new)
        spelled = (one for (other,) in rows for one in spellings(other))
        new = [one for one in dict.fromkeys(spelled) if one not in found]
    return tuple(found)


async def forget(connection: Connection, addresses: Sequence[str]) -> None:
    """Delete what is known of a person."""
    await connection.execute(SQL["forget_aliases"], list(addresses))


async def prune(connection: Connection, age: float, limit: int) -> int:
    """Delete aliases that have not been seen for long."""
    return len(await connection.fetch(SQL["prune_aliases"], age, limit))


def _columns(alias: str, lane: str) -> tuple[bytes, bytes, str, str]:
    return lane_key(alias), lane_key(lane), storable(lane), storable(person_of(alias))
