"""Tell workers that live from those whose processes have ended, by locks that sessions hold.

A session ends with its process, but also if it is cut off from a process that lives. That process
opens another one, with another lock, within 0.5 s, and so says that it lives. If the server was
stopped, all locks are gone, and nothing follows from that
(docs/decisions/0034-taking-over-from-the-dead.md).
"""

import random
import time
from collections.abc import Callable, Collection
from typing import Final, NamedTuple

import asyncpg

from offhook.errors import StoreDenied
from offhook.stores.postgres.errors import is_harmless
from offhook.stores.postgres.functions import SQL
from offhook.stores.postgres.lanes import RELEASE
from offhook.stores.postgres.pool import Connection
from offhook.stores.postgres.privileges import Privileges

_TAKE_OVER: Final = SQL.filled("take_over", release=RELEASE.name)

# Seconds from finding a lock free until its worker is dead. One that lives opens another session
# meanwhile, for which it has four tries (`wakeup`), or finds its own lock free, for which it has
# three looks (`takeover`): of looks that are 0.5 s apart, the fourth finds it dead.
_GRACE: Final = 1.5
# Seconds, after what has cut this process off from the server, and may have done so to others.
_GRACE_AFTER_OUTAGE: Final = 10.0

_KEYS: Final = 2**31  # on either side of 0: a lock's second number is an `integer`


class Ended(NamedTuple):
    """A worker whose session has ended, and the key of the session's lock."""

    owner: str
    key: int


class Presence:
    """What this process says and knows of the workers of a store.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._privileges = Privileges(clock)
        self._owner = ""
        self._key = 0
        self._session: Connection | None = None
        self._ended: dict[Ended, float] = {}  # since when that is known
        self._not_before = 0.0

    def join(self, owner: str) -> None:
        """Let the next session that is attended to hold a lock."""
        self._owner = owner

    def leave(self) -> Ended:
        """Let no further session hold a lock; return what is to be forgotten."""
        left, self._owner = Ended(self._owner, self._key), ""
        return left

    async def attend(self, session: Connection) -> None:
        """Find out whether a session lives, and let it hold the lock of this worker.

        Raises:
            Exception: one of `ERRORS`: the session has ended.
        """
        await session.fetchval("SELECT 1")
        if not self._owner:
            return
        try:
            async with self._privileges.needed(session):
                await self._hold(session)
        except StoreDenied:
            pass  # it can listen all the same; `find_ended` says so
        except asyncpg.PostgresError as error:
            if not is_harmless(error):
                raise

    def extend_grace(self) -> None:
        """Release no worker for a while: what cut this process off may have cut off others."""
        self._ended.clear()
        self._not_before = self._clock() + _GRACE_AFTER_OUTAGE

    def lost_session(self, ended: Collection[Ended]) -> Ended | None:
        """Return the session of this process, if it is found among those that have ended."""
        for one in ended:
            if one.owner == self._owner:
                self.extend_grace()
                return one
        return None

    async def find_ended(self, connection: Connection) -> Collection[Ended]:
        """Return the workers whose sessions have ended, as far as the server has gone on since.

        Raises:
            StoreDenied: as of `Privileges.needed`, and so do the next two.
        """
        async with self._privileges.needed(connection):
            rows = await connection.fetch(SQL["ended"])
        return [Ended(row["owner"], row["key"]) for row in rows]

    async def forget(self, connection: Connection, ended: Ended) -> None:
        """Forget a worker's session."""
        async with self._privileges.needed(connection):
            await connection.execute(SQL["leave"], *ended)

    async def take_over(self, connection: Connection, ended: Ended) -> int:
        """Release the leases of a dead worker, and forget it; return how many."""
        async with self._privileges.needed(connection):
            return await connection.fetchval(_TAKE_OVER, *ended) or 0

    def dead(self, ended: Collection[Ended]) -> Collection[Ended]:
        """Return the workers that have not come back, of those whose sessions are found ended."""
        now = self._clock()
        self._ended = {one: self._ended.get(one, now) for one in ended if one.owner != self._owner}
        if now < self._not_before:
            return ()
        return [one for one, since in self._ended.items() if now - since >= _GRACE]

    async def _hold(self, session: Connection) -> None:
        if session is not self._session:
            if self._session is not None:
                self.extend_grace()
            key = random.randrange(-_KEYS, _KEYS)  # noqa: S311 - no secret
            if not await session.fetchval(SQL["lock_key"], key):
                return  # it is another's: the next time it will be another key
            self._session, self._key = session, key
            await session.execute(SQL["notice_loss"])
            await session.execute(SQL["forget_earlier"])
        if self._owner:  # it may have left meanwhile
            await session.execute(SQL["join"], self._owner, self._key)
