"""What status callbacks say of sends: read, decided upon here, and written if it is still true."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from offhook.core.lifecycle import Delivery, SendTrigger, later_delivery, send_target
from offhook.stores.postgres import lanes
from offhook.stores.postgres.connections import Connection, Row
from offhook.stores.postgres.routines import Routine
from offhook.stores.postgres.sql import IS_LIVE, NOW, SENDS, before_send, storable

_FIND: Final = Routine(
    purpose="find_sends",
    arguments={"_ids": "bigint[]", "_sids": "text[]", "_accounts": "text[]"},
    returns="TABLE (n bigint, id bigint, sid text, delivery text, error_code text)",
    body="""
        RETURN QUERY
        SELECT n, sends.id, sends.sid, delivery, error_code
          FROM unnest(_ids, _accounts) WITH ORDINALITY AS wanted (id, account, n)
          JOIN offhook.sends ON sends.id = wanted.id AND sends.account_sid = wanted.account;
        RETURN QUERY
        SELECT n, sends.id, sends.sid, delivery, error_code
          FROM unnest(_ids, _sids, _accounts) WITH ORDINALITY AS wanted (id, sid, account, n)
          JOIN offhook.sends ON left(sends.sid, 64) = left(wanted.sid, 64) AND sends.sid <> ''
           AND sends.sid = wanted.sid AND sends.account_sid = wanted.account
         WHERE wanted.id IS NULL;
    """,
)

_CONFIRMED: Final = before_send(SendTrigger.CONFIRM)

# With `delivery` and `error_code` as they were when it was decided. What follows a confirmed send
# need not wait for its REST answer: Twilio has it.
_WRITE: Final = Routine(
    purpose="write_deliveries",
    arguments={
        "_ids": "bigint[]", "_sids": "text[]", "_deliveries": "text[]", "_codes": "text[]",
        "_known_deliveries": "text[]", "_known_codes": "text[]",
    },
    returns="SETOF bigint",
    declares="_locked bytea[]; _ended bytea[];",
    body=f"""
        _locked := ARRAY(SELECT lane FROM offhook.sends WHERE id = ANY(_ids) AND {IS_LIVE});
        {lanes.lock(SENDS, "_locked")};
        PERFORM 1 FROM offhook.sends WHERE id = ANY(_ids) ORDER BY id FOR UPDATE;
        _now := {NOW};
        RETURN QUERY
        UPDATE offhook.sends
           SET state = CASE WHEN {_CONFIRMED} THEN '{send_target(SendTrigger.CONFIRM)}'
                            ELSE sends.state END,
               settled = CASE WHEN {_CONFIRMED} THEN _now ELSE settled END,
               error = CASE WHEN {_CONFIRMED} THEN '' ELSE error END,
               sid = said.sid, delivery = said.delivery, error_code = said.code
          FROM unnest(_ids, _sids, _deliveries, _codes, _known_deliveries, _known_codes)
               AS said (id, sid, delivery, code, known_delivery, known_code)
         WHERE sends.id = said.id AND sends.sid IN ('', said.sid)
           AND sends.delivery = said.known_delivery AND sends.error_code = said.known_code
        RETURNING sends.id;
        _ended := ARRAY(
            SELECT lanes.lane
              FROM (SELECT {SENDS}::smallint AS queue, lane, token FROM offhook.sends
                     WHERE id = ANY(_ids) AND lane = ANY(_locked) AND NOT sends.{IS_LIVE}
                    OFFSET 0) AS confirmed
              JOIN offhook.lanes ON lanes.queue = confirmed.queue
               AND lanes.lane = confirmed.lane AND lanes.token = confirmed.token);
        {lanes.advance(SENDS, "_ended")};
    """,
)  # fmt: skip

ROUTINES: Final = (_FIND, _WRITE)


class Reported(NamedTuple):
    """A status callback; see `ports.Ledger.record_delivery`."""

    send_id: int | None
    sid: str
    delivery: Delivery
    account_sid: str


class _Change:
    """What a batch of callbacks makes of one send."""

    def __init__(self, row: Row) -> None:
        self.id: int = row["id"]
        self.sid: str = row["sid"]
        self.known: str = row["delivery"]
        self.known_code: str = row["error_code"]
        self.kept = Delivery(self.known, self.known_code) if self.known else None
        self.meant: list[int] = []

    def take(self, n: int, reported: Reported) -> None:
        """Take over a callback, unless it is of another message."""
        sid = storable(reported.sid)
        if self.sid in {"", sid}:
            self.sid = sid
            self.kept = later_delivery(self.kept, reported.delivery)
            self.meant.append(n)

    def columns(self) -> tuple[Any, ...]:
        kept = self.kept or Delivery("")
        return (
            self.id, self.sid, storable(kept.status), storable(kept.error_code),
            self.known, self.known_code,
        )  # fmt: skip


async def record(connection: Connection, batch: Sequence[Reported]) -> list[bool]:
    """Take over status callbacks; tell of each whether a send is meant."""
    answers = [False] * len(batch)
    waiting = list(range(len(batch)))
    while waiting:
        changes = await _decide(connection, {n: batch[n] for n in waiting})
        written = await _write(connection, changes)
        waiting = [n for change in changes if change.id not in written for n in change.meant]
        for change in changes:
            for n in change.meant:
                answers[n] = change.id in written
    return answers


async def _decide(connection: Connection, reports: Mapping[int, Reported]) -> Sequence[_Change]:
    numbers = list(reports)
    wanted = [
        (one.send_id, storable(one.sid), storable(one.account_sid)) for one in reports.values()
    ]
    rows = await connection.fetch(_FIND.call, *zip(*wanted, strict=True))
    changes: dict[int, _Change] = {}
    for row in sorted(rows, key=lambda row: int(row["n"])):
        n = numbers[row["n"] - 1]
        changes.setdefault(row["id"], _Change(row)).take(n, reports[n])
    return [change for change in changes.values() if change.meant]


async def _write(connection: Connection, changes: Sequence[_Change]) -> frozenset[int]:
    if not changes:
        return frozenset()
    columns = zip(*(change.columns() for change in changes), strict=True)
    rows = await connection.fetch(_WRITE.call, *columns)
    return frozenset(row[0] for row in rows)
