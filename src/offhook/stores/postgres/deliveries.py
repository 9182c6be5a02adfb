"""Apply status callbacks to sends: read, decided here, and written if nothing has changed since."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple

from offhook.core.lifecycle import Delivery, later_delivery
from offhook.stores.postgres.fallbacks import FALL_BACK
from offhook.stores.postgres.functions import Function
from offhook.stores.postgres.pool import Connection, Row
from offhook.stores.postgres.values import storable

_FIND: Final = Function("find_sends")
_WRITE: Final = Function("write_deliveries", FALL_BACK)

FUNCTIONS: Final = (_FIND, _WRITE)


class Reported(NamedTuple):
    """A status callback; see `api.Ledger.record_delivery`."""

    send_id: int | None
    sid: str
    delivery: Delivery
    account_sid: str


class _Change:
    """The changes that a batch of callbacks makes to one send."""

    def __init__(self, row: Row) -> None:
        self.id: int = row["id"]
        self.sid: str = row["sid"]
        self.known: str = row["delivery"]
        self.known_code: str = row["error_code"]
        self.kept = Delivery(self.known, self.known_code) if self.known else None
        self.applied: list[int] = []

    def take(self, n: int, reported: Reported) -> None:
        """Apply a callback, unless it is of another message."""
        sid = storable(reported.sid)
        if self.sid in {"", sid}:
            self.sid = sid
            self.kept = later_delivery(self.kept, reported.delivery)
            self.applied.append(n)

    def columns(self) -> tuple[Any, ...]:
        kept = self.kept or Delivery("")
        return (
            self.id, self.sid, storable(kept.status), storable(kept.error_code),
            self.known, self.known_code,
        )  # fmt: skip


async def record(connection: Connection, batch: Sequence[Reported]) -> list[bool]:
    """Apply status callbacks; return of each whether it refers to a send."""
    answers = [False] * len(batch)
    waiting = list(range(len(batch)))
    while waiting:
        changes = await _decide(connection, {n: batch[n] for n in waiting})
        written = await _write(connection, changes)
        waiting = [n for change in changes if change.id not in written for n in change.applied]
        for change in changes:
            for n in change.applied:
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
    return [change for change in changes.values() if change.applied]


async def _write(connection: Connection, changes: Sequence[_Change]) -> frozenset[int]:
    if not changes:
        return frozenset()
    columns = zip(*(change.columns() for change in changes), strict=True)
    rows = await connection.fetch(_WRITE.call, *columns)
    return frozenset(row[0] for row in rows)
