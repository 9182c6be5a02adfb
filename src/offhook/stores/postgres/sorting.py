"""Storing webhooks: the hot path, one function for a batch of them."""

from collections.abc import Sequence
from typing import Any, Final

from offhook.core.inbound import Inbound
from offhook.stores.postgres.functions import Function
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.send_requests import CANCEL_ANSWERED
from offhook.stores.postgres.values import lane_key, storable

_ACCEPT: Final = Function("accept", CANCEL_ANSWERED)

FUNCTIONS: Final = (_ACCEPT,)


async def accept(connection: Connection, batch: Sequence[Inbound]) -> list[bool]:
    """Store the webhooks whose keys are new, in the order given; return for each whether it was."""
    first: dict[bytes, int] = {}
    for n, inbound in enumerate(batch):
        first.setdefault(inbound.key, n)
    places = list(first.values())
    columns = zip(*(_columns(batch[n]) for n in places), strict=True)
    new = await connection.fetchval(_ACCEPT.call, *columns)
    answers = [False] * len(batch)
    for n in new:
        answers[places[n - 1]] = True
    return answers


async def knows(connection: Connection, inbound: Inbound) -> bool:
    """Return whether a webhook's key is known. Reads only."""
    known = await connection.fetchval(
        "SELECT EXISTS (SELECT 1 FROM offhook.dedupe_keys WHERE key = $1)", inbound.key
    )
    return bool(known)


def _columns(inbound: Inbound) -> tuple[Any, ...]:
    return (
        lane_key(inbound.lane), inbound.key, inbound.kind.value, storable(inbound.lane),
        storable(inbound.account_sid), storable(inbound.sid), storable(inbound.sender),
        storable(inbound.recipient), inbound.form, inbound.notice_after, inbound.age,
        inbound.spooled,
    )  # fmt: skip
