"""Storing webhooks: the hot path, one function for a batch of them."""

from collections.abc import Sequence
from typing import Any, Final

from offhook.core.lifecycle import State
from offhook.ports import Inbound
from offhook.stores.postgres.connections import Connection
from offhook.stores.postgres.routines import Routine
from offhook.stores.postgres.sql import MESSAGES, NOW, lane_key, seconds_after, storable


def touch_lanes(queue: int, lanes: str) -> str:
    """Return the statement that sees to it that lanes are looked at now, and locks them in order.

    All are locked, also those that need no change. A leased lane is looked at when its lease ends.
    One that waits for a retry which does not hold it is due now; of one that is held, the claim
    finds out at little cost.

    Args:
        queue: MESSAGES or SENDS.
        lanes: an array, as SQL.
    """
    return f"""
        INSERT INTO offhook.lanes AS known (queue, lane, due)
        SELECT {queue}, lane, {NOW} FROM unnest({lanes}) AS lane
         GROUP BY lane ORDER BY lane
            ON CONFLICT (queue, lane) DO UPDATE SET due = excluded.due
         WHERE known.until IS NULL AND known.due > excluded.due
    """


# The lanes are locked first, so a lane's numbers are drawn in the order of its commits. Then come
# the keys, in their order, or two batches could wait for each other: a key that another batch is
# about to write is waited for, whichever lane it is in.
_ACCEPT: Final = Routine(
    purpose="accept",
    arguments={
        "_lanes": "bytea[]", "_keys": "bytea[]", "_kinds": "text[]", "_names": "text[]",
        "_accounts": "text[]", "_sids": "text[]", "_senders": "text[]", "_recipients": "text[]",
        "_forms": "bytea[]", "_notices": "float8[]", "_ages": "float8[]", "_spooled": "bool[]",
    },
    returns="integer[]",  # which of them, from 1, were new
    declares="_new integer[];",
    body=f"""
        {touch_lanes(MESSAGES, "_lanes")};
        _now := {NOW};
        WITH given AS MATERIALIZED (
            SELECT * FROM unnest(_lanes, _keys, _kinds, _names, _accounts, _sids, _senders,
                                 _recipients, _forms, _notices, _ages, _spooled)
                     WITH ORDINALITY AS g (lane, key, kind, name, account, sid, sender,
                                           recipient, form, notice, age, spooled, n)
        ), unknown AS (
            INSERT INTO offhook.dedupe_keys (lane, key, received)
            SELECT lane, key, _now FROM given ORDER BY key ON CONFLICT DO NOTHING RETURNING key
        ), fresh AS MATERIALIZED (
            SELECT given.*, nextval('offhook.message_ids') AS id
              FROM (SELECT given.* FROM given JOIN unknown USING (key) ORDER BY n) AS given
        ), stored AS (
            INSERT INTO offhook.messages (
                id, place, kind, state, lane, lane_name, account_sid, sid, sender, recipient, form,
                received, due, notice_due, spooled)
            SELECT id, id, kind, '{State.OPEN}', lane, name, account, sid, sender, recipient, form,
                   {seconds_after("_now", "-age")}, _now,
                   {seconds_after("_now", "notice - age")}, spooled
              FROM fresh
        ), tallied AS (
            INSERT INTO offhook.tallies (what, change)
            SELECT 'messages', count(*) FROM fresh HAVING count(*) > 0
        )
        SELECT array_agg(n) INTO _new FROM fresh;
        RETURN coalesce(_new, '{{}}');
    """,
    options={"enable_nestloop": "off"},  # nothing but what is given is joined
)  # fmt: skip

ROUTINES: Final = (_ACCEPT,)


async def accept(connection: Connection, batch: Sequence[Inbound]) -> list[bool]:
    """Store the webhooks whose keys are new, in the order given; tell for each whether it was."""
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
