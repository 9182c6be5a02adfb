"""Storing webhooks: the hot path, one function for a batch of them."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

from offhook.core.inbound import Inbound
from offhook.errors import StoreUnavailable
from offhook.stores.postgres import aliases
from offhook.stores.postgres.functions import Function
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.send_requests import CANCEL_ANSWERED
from offhook.stores.postgres.values import lane_key, storable

_ACCEPT: Final = Function("accept", CANCEL_ANSWERED, aliases.RESOLVE)
_ROUNDS: Final = 10  # in which others may learn something else of the same people

FUNCTIONS: Final = (_ACCEPT,)


async def accept(connection: Connection, batch: Sequence[Inbound]) -> list[bool]:
    """Store the webhooks whose keys are new, in the order given; return for each whether it was."""
    first: dict[bytes, int] = {}
    for n, inbound in enumerate(batch):
        first.setdefault(inbound.key, n)
    answers = [False] * len(batch)
    for places in _rounds(batch, first.values()):
        for n in await _store(connection, [batch[n] for n in places]):
            answers[places[n - 1]] = True
    return answers


def _rounds(batch: Sequence[Inbound], places: Iterable[int]) -> Iterator[Sequence[int]]:
    """Split places in a batch: in each part, a user id belongs to one number at most."""
    part: list[int] = []
    named: dict[str, str] = {}
    for n in places:
        alias, lane = batch[n].alias, batch[n].lane
        if alias and alias != lane and named.setdefault(alias, lane) != lane:
            yield part
            part, named = [], {alias: lane}
        part.append(n)
    yield part


async def _store(connection: Connection, batch: Sequence[Inbound]) -> Sequence[int]:
    columns = list(zip(*map(_columns, batch), strict=True))
    if not any(one.alias for one in batch):
        columns += [(), ()]
    else:
        columns.append(tuple(lane_key(one.alias) if one.alias else None for one in batch))
        columns.append(tuple(storable(one.alias) for one in batch))
    for gathered in range(_ROUNDS):
        new: Sequence[int] | None = await connection.fetchval(_ACCEPT.call, *columns, gathered > 0)
        if new is not None:
            return new
        await aliases.learn(connection, batch)
    raise StoreUnavailable("others keep learning something else of the same people")


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
