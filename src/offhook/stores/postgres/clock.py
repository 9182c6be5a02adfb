"""The time of a store in a database: the server's clock, corrected when it has been set.

A server's clock can be set; its clients have one that can't. So a claim says what time it must be
at least, by the last claim's time and the time elapsed since, and the server's clock is corrected
before leases are judged by it (docs/decisions/0027-a-time-of-the-stores-own.md).
"""

from typing import Final

from offhook.clock import elapsed
from offhook.stores.postgres.functions import Function
from offhook.stores.postgres.pool import Connection, Row

BACK: Final = 1.0
"""Seconds that the server's clock may be behind what it must be at least."""

MOMENT: Final = "to_timestamp({}) + (SELECT distance FROM offhook.clock)"
"""Seconds since the epoch, by the server's clock, as a moment of the store's."""

LEASE: Final = 30.0
"""Seconds, of what is leased when it is not a claim that finds out."""

CHECK: Final = Function("check_clock", BACK=str(BACK))

FUNCTIONS: Final = (CHECK,)


async def check(connection: Connection, clock: "StoreClock") -> None:
    """Put the server's clock right if it was set, before anything is too old or late by it."""
    await connection.execute(CHECK.call, *clock.arguments, LEASE)


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
