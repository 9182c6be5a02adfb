"""Claim sends, settle them, and write notices."""

from collections.abc import Collection, Sequence
from typing import Any, Final, NamedTuple

from offhook.core.lifecycle import SendTrigger, send_sources, send_target
from offhook.core.messages import Send
from offhook.core.reasons import Cause, stored
from offhook.stores.api import ClaimedSends, Draft, SendClaim, SendOutcome
from offhook.stores.postgres.clock import CHECK, StoreClock
from offhook.stores.postgres.fallbacks import CLOSE_WINDOWS, FALL_BACK
from offhook.stores.postgres.functions import Function
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.settling import WRITE, draft_values
from offhook.stores.postgres.values import storable
from offhook.stores.rows import Settled, as_send, as_send_claim
from offhook.stores.sql import one_of

_CLAIM: Final = Function("claim_sends", CHECK, CLOSE_WINDOWS, send_lost=stored(Cause.SEND_LOST()))
_UNWANTED: Final = stored(Cause.OPTED_OUT())
_HAND_BACK: Final = Function("hand_back_sends", unwanted=_UNWANTED)
_SETTLE: Final = Function(
    "settle_sends",
    FALL_BACK,
    unwanted=_UNWANTED,
    may_happen=" ".join(
        f"WHEN '{trigger}' THEN sends.state IN {one_of(send_sources(trigger))}"
        for trigger in SendTrigger
    ),
)
_NOTIFY: Final = Function("notify", WRITE)

FUNCTIONS: Final = (_CLAIM, _HAND_BACK, _SETTLE, _NOTIFY)


class Notice(NamedTuple):
    """A notice to the sender of a message, which may have settled."""

    message_id: int
    draft: Draft
    settled: bool


async def claim(
    connection: Connection, clock: StoreClock, *, limit: int, lease: float, owner: str
) -> ClaimedSends:
    """Claim the heads of lanes that are due. See `api.Ledger.claim_sends`."""
    *rows, outlook = await connection.fetch(_CLAIM.call, limit, lease, owner, *clock.arguments)
    claims = [as_send_claim((id_, *columns), token) for id_, token, *columns, _ in rows]
    return ClaimedSends(claims, outlook["next_due"])


async def hand_back(connection: Connection, owner: str, held: Collection[int]) -> int:
    """End leases whose claim its owner never received. See `api.Ledger.hand_back_sends`."""
    count: int = await connection.fetchval(_HAND_BACK.call, owner, list(held))
    return count


async def settle(connection: Connection, batch: Sequence[Settled]) -> list[None]:
    """Record the outcomes of sends. See `api.Ledger.settle_send`."""
    columns = zip(*(_outcome_columns(*one) for one in batch), strict=True)
    await connection.fetch(_SETTLE.call, *columns)
    return [None] * len(batch)


async def notify(connection: Connection, batch: Sequence[Notice]) -> list[Send | None]:
    """Write notices. See `api.Ledger.notify`."""
    columns = zip(
        *((one.message_id, one.settled, *draft_values(one.draft)) for one in batch), strict=True
    )
    written: list[Send | None] = [None] * len(batch)
    for item, *send, repeated in await connection.fetch(_NOTIFY.call, *columns):
        if not repeated:
            written[item - 1] = as_send(send)
    return written


def _outcome_columns(claim: SendClaim, outcome: SendOutcome) -> tuple[Any, ...]:
    return (
        claim.id, claim.token, outcome.trigger.value, send_target(outcome.trigger).value,
        outcome.delay, storable(outcome.sid), storable(outcome.status),
        storable(outcome.error_code), storable(outcome.error),
        outcome.cost.segments, outcome.cost.price, outcome.cost.currency,
    )  # fmt: skip
