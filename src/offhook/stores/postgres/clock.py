"""The time of a store in a database: the server's clock, corrected when it has been set.

A server's clock can be set; its clients have one that can't. So a claim says what time it must be
at least, by the last claim's time and the time elapsed since, and the server's clock is corrected
before leases are judged by it (docs/decisions/0027-a-time-of-the-stores-own.md).
"""

from collections.abc import Mapping
from typing import Final

from offhook.clock import elapsed
from offhook.stores.postgres.connections import Connection, Row
from offhook.stores.postgres.routines import Routine
from offhook.stores.postgres.sql import IS_LIVE, MESSAGES, SENDS, seconds_after

BACK: Final = 1.0
"""Seconds that the server's clock may be behind what it must be at least."""

_LEASE: Final = 30.0  # seconds, of what is leased when it is not a claim that finds out

CHECKS: Final[Mapping[str, str]] = {"_expected": "float8", "_version": "integer"}
"""What a claim's function is given for `CHECK`, as `StoreClock.arguments` has it."""

_UNNOTICED: Final = "_off > interval '0' AND due >= _clock.seen + _off"
"""What was stored by a clock set ahead, before anybody noticed."""


def _put_right(queue: int, table: str) -> str:
    """Return the statements after which nothing of a queue is late, and no lease has run out."""
    moved = f"queue = {queue} AND (until IS NOT NULL OR {_UNNOTICED})"
    return f"""
        PERFORM 1 FROM offhook.lanes WHERE {moved} ORDER BY lane FOR UPDATE;
        UPDATE offhook.lanes
           SET until = CASE WHEN until IS NOT NULL THEN _until END,
               due = CASE WHEN until IS NOT NULL THEN _until ELSE due - _off END
         WHERE {moved};
        UPDATE {table} SET due = due - _off WHERE {IS_LIVE} AND {_UNNOTICED}
    """


# Ahead by less than half a lease is no matter for leases, and may be an answer that took its time.
# Who finds the clock far ahead while others find it right has stood still himself.
CHECK: Final = Routine(
    purpose="check_clock",
    arguments={**CHECKS, "_lease": "float8"},
    returns="void",
    declares="""
        _clock offhook.clock; _least timestamptz; _until timestamptz;
        _off interval; _slack interval;
    """,
    body=f"""
        SELECT * INTO _clock FROM offhook.clock;
        _now := clock_timestamp() + _clock.distance;
        _slack := make_interval(secs => greatest({BACK}, _lease / 2));
        IF _version IS NULL THEN
            _least := (SELECT max(received) FROM offhook.dedupe_keys);
        ELSIF _version = _clock.version THEN
            _least := to_timestamp(_expected);
        END IF;
        _off := _now - _least;
        IF _off IS NULL OR _off > interval '-{BACK} s' AND (
            _version IS NULL OR _off < _slack OR _now - _clock.seen < _slack)
        THEN
            IF abs(extract(epoch FROM _now - _clock.seen)) > extract(epoch FROM _slack) / 4 THEN
                UPDATE offhook.clock SET seen = _now WHERE one IN (
                    SELECT one FROM offhook.clock
                     WHERE version = _clock.version FOR UPDATE SKIP LOCKED);
            END IF;
            RETURN;
        END IF;
        UPDATE offhook.clock
           SET distance = distance - _off, seen = _least, version = version + 1,
               step = extract(epoch FROM _off)
         WHERE version = _clock.version;
        IF NOT FOUND THEN RETURN; END IF;
        _until := {seconds_after("_least", "_lease")};
        {_put_right(MESSAGES, "offhook.messages")};
        UPDATE offhook.messages SET notice_due = notice_due - _off
         WHERE _off > interval '0' AND notice_due >= _clock.seen + _off;
        {_put_right(SENDS, "offhook.sends")};
    """,
)


ROUTINES: Final = (CHECK,)


async def check(connection: Connection, clock: "StoreClock") -> None:
    """Put the server's clock right if it was set, before anything is too old or late by it."""
    await connection.execute(CHECK.call, *clock.arguments, _LEASE)


class StoreClock:
    """What a process knows of the store's time."""

    def __init__(self) -> None:
        self._moment = 0.0
        self._at = 0.0
        self._version: int | None = None

    @property
    def arguments(self) -> tuple[float | None, int | None]:
        """Return what the store's time must be at least, and what that is known from."""
        if self._version is None:
            return None, None
        return self._moment + elapsed() - self._at, self._version

    def take(self, reading: Row) -> float:
        """Take over a reading; return the seconds by which the clock was set since the last."""
        known, self._version = self._version, reading["clock_version"]
        self._moment, self._at = reading["moment"], elapsed()
        step: float = reading["clock_step"]
        return 0.0 if known in {None, self._version} else step
