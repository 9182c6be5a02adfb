"""Claim messages; messages whose worker has crashed are rescued or buried first."""

from collections.abc import Collection, Sequence
from typing import Final

from offhook.core.keys import Kind
from offhook.core.lifecycle import CRASHES_UNTIL_DEAD
from offhook.core.loop_detection import LoopRule
from offhook.core.reasons import Cause, stored
from offhook.stores.api import Claim, Claimed, Overdue, SavedState
from offhook.stores.postgres import aliases
from offhook.stores.postgres.clock import CHECK, StoreClock
from offhook.stores.postgres.functions import SQL, Function
from offhook.stores.postgres.pool import Connection, Row

_CLAIM: Final = Function(
    "claim", CHECK, worker_died=stored(Cause.WORKER_DIED("%s", CRASHES_UNTIL_DEAD))
)
_HAND_BACK: Final = Function("hand_back", claim_lost=stored(Cause.CLAIM_LOST()))

FUNCTIONS: Final = (_CLAIM, _HAND_BACK)


async def claim(
    connection: Connection,
    clock: StoreClock,
    *,
    limit: int,
    lease: float,
    owner: str,
    alone: bool,
    loop: LoopRule | None,
) -> Claimed:
    """Claim the heads of lanes that are due. See `api.Queue.claim`."""
    counted = (loop.within, loop.pace) if loop else (0.0, 0.0)
    arguments = (limit, lease, owner, alone, *counted, *clock.arguments)
    *found, outlook = await connection.fetch(_CLAIM.call, *arguments)
    if outlook["joined"]:  # something has ended that lanes of the same person wait for
        await aliases.gather(connection)
        if not found:
            *found, outlook = await connection.fetch(_CLAIM.call, *arguments)
    return Claimed(
        claims=tuple(_claim(row) for row in found if row["what"] == "claim"),
        next_due=outlook["next_due"],
        suspects=outlook["suspects"],
        buried=tuple(_overdue(row) for row in found if row["what"] == "buried"),
        step=clock.take(outlook),
    )


async def hand_back(connection: Connection, owner: str, held: Collection[int]) -> int:
    """End leases whose claim its owner never received. See `api.Queue.hand_back`."""
    count: int = await connection.fetchval(_HAND_BACK.call, owner, list(held))
    return count


async def overdue(connection: Connection, limit: int) -> Sequence[Overdue]:
    """Return the messages whose notice is due. Reads only."""
    rows = await connection.fetch(SQL["overdue"], limit)
    return [_overdue(row) for row in rows]


def _claim(row: Row) -> Claim:
    return Claim(
        id=row["id"],
        token=row["token"],
        kind=Kind(row["kind"]),
        lane=row["lane"],
        sid=row["sid"],
        attempt=row["attempt"],
        crashes=row["crashes"],
        received=row["received"],
        form=row["form"],
        turns=row["turns"],
        replayed=row["replayed"],
        state=None if row["state_value"] is None else _saved(row),
    )


def _saved(row: Row) -> SavedState:
    return SavedState(row["state_value"], row["state_version"], row["state_age"])


def _overdue(row: Row) -> Overdue:
    return Overdue(row["id"], row["account_sid"], row["sender"], row["recipient"])
