"""Unknown sends: which are to be looked up in Twilio's message list, and what came of it."""

from collections.abc import Mapping, Sequence
from typing import Final

from offhook.core.lifecycle import SendTrigger, State, send_target
from offhook.core.privacy import spellings
from offhook.core.reasons import stored
from offhook.core.unknown_sends import Finding, Unknown, Verdict
from offhook.stores.api import Inquiry
from offhook.stores.postgres import lanes
from offhook.stores.postgres.functions import SQL
from offhook.stores.postgres.pool import Connection, Row
from offhook.stores.rows import as_unknown, ending, listed_under

_LOCK: Final = 0x6C6F_6F6B_7570  # "lookup": one claims at a time


async def is_due(connection: Connection) -> bool:
    """Return whether a send is to be looked up. Reads only."""
    return await connection.fetchrow(SQL["next_to_look_up"]) is not None


async def claim(connection: Connection, *, lease: float) -> Inquiry | None:
    """Take the unknown sends to one person. Within a transaction.

    See `api.Ledger.claim_unknown`.
    """
    await connection.fetchval("SELECT pg_advisory_xact_lock($1)", _LOCK)
    # Of two workers, one finds with the lock that a person's sends are not due any more.
    found = await connection.fetchrow(SQL["next_to_look_up"])
    if found is None:
        return None
    account_sid, recipient = found
    person = [recipient, *spellings(recipient)]
    rows = await connection.fetch(SQL["unknown_of_person"], account_sid, person)
    if not rows:  # a callback has come meanwhile
        return None
    recipients = listed_under((row["sender"], row["recipient"]) for row in rows)
    ids = [row["id"] for row in rows]
    await connection.execute(SQL["look_up"], ids, lease)
    witnesses = await connection.fetch(
        SQL["witnesses"],
        [row["lane"] for row in rows],
        ids,
        account_sid,
        list(recipients),
    )
    return Inquiry(
        account_sid,
        recipients,
        tuple(_unknown(row) for row in rows),
        frozenset(row["sid"] for row in witnesses),
    )


async def known_sids(
    connection: Connection, inquiry: Inquiry, sids: Sequence[str]
) -> frozenset[str] | None:
    """Return which SIDs belong to sends. Reads only. See `api.Ledger.known_sids`."""
    on_its_way = await connection.fetchrow(
        SQL["on_its_way"],
        inquiry.account_sid,
        list(inquiry.recipients),
        [send.id for send in inquiry.sends],
    )
    if on_its_way is not None:
        return None
    known = await connection.fetch(SQL["sids_of_others"], inquiry.account_sid, list(sids))
    return frozenset(row["sid"] for row in known)


async def settle(connection: Connection, verdicts: Sequence[Verdict]) -> Mapping[int, SendTrigger]:
    """Record what came of looking sends up. Within a transaction.

    See `api.Ledger.settle_unknown`.
    """
    by_id = {verdict.send.id: verdict for verdict in verdicts}
    ended = [id_ for id_, one in by_id.items() if one.finding is Finding.REPEAT]

    async def find() -> list[bytes]:
        return [row["lane"] for row in await connection.fetch(SQL["lanes_looked_up"], ended)]

    locked = await lanes.lock(connection, "touch_lanes_of_sends", find)
    rows = await connection.fetch(
        SQL["looked_up"], list(by_id), [one.send.looks for one in by_id.values()]
    )
    waiting = [by_id[row["id"]] for row in rows if row["id"] not in ended]
    await connection.execute(
        SQL["look_again"],
        [one.send.id for one in waiting],
        [one.again for one in waiting],
        [one.finding is Finding.MISSING for one in waiting],
    )
    happened = {row["id"]: await _end(connection, row) for row in rows if row["id"] in ended}
    await connection.execute(SQL["advance_sends"], locked)
    return happened


async def _end(connection: Connection, row: Row) -> SendTrigger:
    state = None if row["state"] is None else State(row["state"])
    trigger, error = ending(row["repeats"], row["identity"], state)
    left = row["repeats"] - 1 if trigger is SendTrigger.REPEAT else None
    await connection.execute(
        SQL["end_look_up"], row["id"], send_target(trigger).value, stored(error), left
    )
    return trigger


def _unknown(row: Row) -> Unknown:
    columns = ("id", "message", "identity", "sender", "recipient", "body", "media", "content_sid")
    return as_unknown(
        [row[name] for name in columns],
        written=row["written"],
        lost=row["lost"],
        looks=row["looks"],
        missing=row["missing"],
    )
