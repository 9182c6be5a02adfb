"""Write sends that answer no message, and have them join their lanes when they fall due."""

from typing import Final

from offhook.core.identity import is_user_id
from offhook.core.keys import person_of, request_key
from offhook.core.messages import Send
from offhook.core.reasons import Cause, stored
from offhook.stores.api import SendRequest
from offhook.stores.postgres.clock import CHECK, LEASE, StoreClock
from offhook.stores.postgres.functions import SQL, Function
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.settling import draft_values
from offhook.stores.postgres.values import lane_key, storable
from offhook.stores.rows import SEND_COLUMNS, as_send, deleted_send

_REQUEST: Final = Function("request")
_START: Final = Function("start_due", CHECK)
CANCEL_ANSWERED: Final = Function("cancel_answered", answered=stored(Cause.ANSWERED()))

FUNCTIONS: Final = (_REQUEST, _START, CANCEL_ANSWERED)


async def write(connection: Connection, request: SendRequest) -> tuple[Send, ...]:
    """Write the sends of a request, or return those of its key. See `api.Requests.request`."""
    first = request.drafts[0]
    key = request_key(first.account_sid, request.key) if request.key else None
    columns = zip(*(draft_values(draft)[:-1] for draft in request.drafts), strict=True)
    rows = await connection.fetch(
        _REQUEST.call,
        key,
        lane_key(request.lane),
        storable(request.lane),
        is_user_id(person_of(request.lane)),
        max(0.0, request.delay),
        storable(first.to) if request.unless_reply else "",
        *columns,
    )
    sends = tuple(as_send(send, repeated=repeated) for *send, repeated in rows)
    return sends or (deleted_send(first.identity, first.to),)


async def next_due(connection: Connection) -> float | None:
    """Return the seconds until a scheduled send falls due. Reads only."""
    due: float | None = await connection.fetchval(SQL["next_request_due"])
    return due


async def start_due(connection: Connection, clock: StoreClock, limit: int) -> int:
    """Have scheduled sends join their lanes. See `api.Requests.start_due`."""
    started: int = await connection.fetchval(_START.call, limit, *clock.arguments, LEASE)
    return started


async def sent_as(connection: Connection, sid: str, account_sid: str) -> Send | None:
    """Return the send that has a MessageSid. Reads only."""
    statement = SQL.filled("sent_as", send_columns=SEND_COLUMNS)
    row = await connection.fetchrow(statement, storable(sid), storable(account_sid))
    return None if row is None else as_send(row)
