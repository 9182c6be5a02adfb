"""Show sends to operators, and carry out their decisions."""

from collections.abc import Sequence
from typing import Any

from offhook.core.cost import Spending
from offhook.core.lifecycle import SendState
from offhook.stores.api import SendFilter, SendRecord
from offhook.stores.postgres import lanes
from offhook.stores.postgres.clock import MOMENT
from offhook.stores.postgres.functions import SQL
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.values import storable
from offhook.stores.rows import as_send_record, as_spending, replacement


async def find(connection: Connection, wanted: SendFilter) -> Sequence[SendRecord]:
    """Return the sends that fit, newest first."""
    conditions: dict[str, Any] = {
        "delivery = {}": storable(wanted.delivery) or None,
        "error_code = {}": storable(wanted.code) or None,
        "sender = {}": storable(wanted.sender) or None,
        "recipient = {}": storable(wanted.to) or None,
        "account_sid = {}": storable(wanted.account) or None,
        f"created >= {MOMENT}": wanted.since,
        f"created < {MOMENT}": wanted.until,
        "id < {}": wanted.before_id,
    }
    given = {condition: value for condition, value in conditions.items() if value is not None}
    terms = [condition.format(f"${n}") for n, condition in enumerate(given, 1)]
    match wanted.state:  # spelled out, and by the name under which the indexes know it
        case None:
            pass
        case SendState.PENDING | SendState.SENDING:
            terms += ["resting IS NULL", f"state = '{wanted.state}'"]
        case _:
            terms.append(f"resting = '{wanted.state}'")
    fitting = f"offhook.sends WHERE {' AND '.join(terms or ['true'])}"
    rows = await connection.fetch(
        SQL.filled("find_sends_of", fitting=fitting, limit=str(int(wanted.limit))), *given.values()
    )
    return [as_send_record(row) for row in rows]


async def show(connection: Connection, send_id: int) -> SendRecord | None:
    """Return a send."""
    row = await connection.fetchrow(SQL["show_send"], send_id)
    return None if row is None else as_send_record(row)


async def spending(connection: Connection, since: float, limit: int) -> Spending:
    """Return what sends cost. See `api.Outbox.spending`."""
    days = await connection.fetch(SQL["spent_by_day"], since)
    conversations = await connection.fetch(SQL["spent_by_conversation"], since, limit)
    return as_spending(days, conversations)


async def retry(connection: Connection, send_id: int, *, unknown: bool) -> int | None:
    """Have a send's text sent (again). Within a transaction. See `api.Outbox.retry_send`."""
    place = await connection.fetchrow(SQL["place_of_send"], send_id)
    if place is None:
        return None
    message, lane = place
    if await _lock_origin(connection, message, lane):
        return None  # its text was not kept
    locked = await _lock_lanes(connection, send_id)
    retried: int | None = await connection.fetchval(SQL["retry_send"], send_id)
    if retried is None:
        retried = await connection.fetchval(
            SQL["replace_send"], send_id, unknown, replacement(send_id)
        )
    await connection.execute(SQL["advance_sends"], locked)
    return retried


async def cancel(connection: Connection, send_id: int) -> bool:
    """Withdraw a send. Within a transaction. See `api.Outbox.cancel_send`."""
    place = await connection.fetchrow(SQL["place_of_send"], send_id)
    if place is None:
        return False
    message, lane = place
    await _lock_origin(connection, message, lane)
    locked = await _lock_lanes(connection, send_id)
    cancelled = await connection.fetchval(SQL["cancel_send"], send_id)
    if cancelled is not None and message < 0:
        await connection.execute(SQL["lock_sends_by_message"], [message])
        await connection.execute(SQL["cancel_requested"], message)
        await connection.execute(SQL["requested_not_wanted"], message)
        await connection.execute(SQL["end_request"], message)
    await connection.execute(SQL["advance_sends"], locked)
    return cancelled is not None


async def _lock_origin(connection: Connection, message: int, lane: bytes) -> bool:
    """Lock the message or the request of a send; return whether its texts were not kept."""
    if message < 0:
        return bool(await connection.fetchval(SQL["lock_request"], message))
    return bool(await connection.fetchval(SQL["lock_message"], message, lane))


async def _lock_lanes(connection: Connection, send_id: int) -> list[bytes]:
    async def find() -> list[bytes]:
        place = await connection.fetchrow(SQL["place_of_send"], send_id)
        return [] if place is None else [place["lane"]]

    return await lanes.lock(connection, "touch_lanes_of_sends", find)
