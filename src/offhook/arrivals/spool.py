"""A spool: a store of its own file, from which webhooks are moved on instead of handled."""

import fcntl
import mmap
import os
import secrets
import sqlite3
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from offhook.core.connection_uri import sqlite_file
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.errors import SettingsError, StoreUnavailable
from offhook.stores.api import Spool, Spooled
from offhook.stores.sql import MESSAGES
from offhook.stores.sqlite import lanes
from offhook.stores.sqlite.conditions import IS_LIVE, SQL
from offhook.stores.sqlite.engine import Engine
from offhook.stores.sqlite.schema import migrate
from offhook.stores.sqlite.sequences import tally
from offhook.stores.sqlite.sorting import touch

_MARK_BYTES: Final = 8


class SqliteSpool:
    """Keeps `api.Spool` in a file with the schema of the embedded store.

    So `offhook messages` and `offhook stats` show it as they show any store, and a person is
    erased from it in the same way.

    Args:
        path: the database's file, on a disk of this machine.
    """

    def __init__(self, path: Path) -> None:
        self._engine = Engine(path)
        self._mark = Mark(path.with_name(f"{path.name}-mark"))
        self._leadership = Leadership(path.with_name(f"{path.name}-forwarder"))
        self._empty_at: bytes | None = None

    async def open(self) -> None:
        """See `api.Spool.open`."""
        await self._engine.open(_prepare)
        try:
            self._mark.open()
        except OSError as error:
            await self.close()
            raise StoreUnavailable(f"cannot open the spool: {error}") from error

    async def close(self) -> None:
        """See `api.Spool.close`."""
        self._leadership.resign()
        await self._engine.close()
        self._mark.close()

    async def append(self, inbound: Inbound) -> bool:
        """See `api.Spool.append`."""
        new = await self._engine.accept(inbound)
        try:
            self._mark.change()
        except OSError as error:
            # It is stored, but other processes would not know: they must not overtake it.
            raise StoreUnavailable(f"cannot write beside {self._engine.path}: {error}") from error
        return new

    def is_empty(self) -> bool:
        """See `api.Spool.is_empty`."""
        return self._empty_at is not None and self._empty_at == self._mark.read()

    async def holds(self, lane: str) -> bool:
        """See `api.Spool.holds`."""
        mark = self._mark.read()  # before looking: what comes in meanwhile changes it
        held, empty = await self._engine.read(lambda connection: _look(connection, lane))
        self._empty_at = mark if empty else None
        return held

    def lead(self) -> bool:
        """See `api.Spool.lead`."""
        return self._leadership.take()

    async def oldest(self, limit: int, *, without: Collection[str] = ()) -> Sequence[Spooled]:
        """See `api.Spool.oldest`."""
        mark = self._mark.read()
        found = await self._engine.read(
            lambda connection: _oldest(connection, self._engine.clock.now(), limit, without)
        )
        if not found and not without:
            self._empty_at = mark
        return found

    async def forget(self, ids: Sequence[int]) -> None:
        """See `api.Spool.forget`."""
        await self._engine.write(lambda connection, now: _forget(connection, now, ids))

    async def count(self) -> int:
        """See `api.Spool.count`."""
        return await self._engine.read(_count)

    async def check(self) -> None:
        """See `api.Spool.check`."""
        await self._engine.write(touch)

    async def tidy(self) -> None:
        """See `api.Spool.tidy`."""
        await self._engine.checkpoint()


class Mark:
    """A few bytes beside the spool that are never the same again once something was stored.

    A process that found the spool empty while the mark was X knows that it is still empty as long
    as the mark is X. It is read from memory (0.1 us): SQLite would take locks, and even a
    system call gives Python's global lock away. It is written by a system call, which says so when
    the disk is full, where writing to memory would kill the process.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1
        self._map: mmap.mmap | None = None

    def open(self) -> None:
        """Open the file, readable by its owner alone."""
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        if os.fstat(self._fd).st_size < _MARK_BYTES:
            os.ftruncate(self._fd, _MARK_BYTES)
        self._map = mmap.mmap(self._fd, _MARK_BYTES, prot=mmap.PROT_READ)

    def read(self) -> bytes:
        """Return the mark."""
        if self._map is None:
            raise StoreUnavailable("the spool is closed")
        return self._map[:]

    def change(self) -> None:
        """Make it one that never was. Random, so that processes need not agree on the next."""
        os.pwrite(self._fd, secrets.token_bytes(_MARK_BYTES), 0)

    def close(self) -> None:
        """Let go of the file. May be called twice."""
        if self._map is not None:
            self._map.close()
            self._map = None
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


class Leadership:
    """A lock that one process of the machine has, and that its death gives back."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._fd = -1

    def take(self) -> bool:
        """Return whether this process has the lock, taking it if it is free."""
        if self._fd >= 0:
            return True
        try:
            fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError:
            return False  # a full disk, say: there will be another time
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            os.close(fd)
            return False
        self._fd = fd
        return True

    def resign(self) -> None:
        """Give the lock back. May be called twice."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1


def _prepare(connection: sqlite3.Connection) -> None:
    migrate(connection)
    # A spool finds a webhook's key by its number, which a store never does.
    connection.execute("CREATE INDEX IF NOT EXISTS dedupe_keys_message ON dedupe_keys (message)")


def _look(connection: sqlite3.Connection, lane: str) -> tuple[bool, bool]:
    """Return whether a lane has webhooks here, and whether there are none at all."""
    held, any_ = connection.execute(
        f"SELECT EXISTS (SELECT 1 FROM messages WHERE lane = ? AND {IS_LIVE}), "
        f"EXISTS (SELECT 1 FROM messages WHERE {IS_LIVE})",
        (lane,),
    ).fetchone()
    return bool(held), not any_


def _oldest(
    connection: sqlite3.Connection, now: int, limit: int, without: Collection[str]
) -> Sequence[Spooled]:
    marks = ",".join("?" * len(without))
    rows = connection.execute(SQL.filled("spooled", without=f"({marks})"), (*without, limit))
    return [_spooled(row, now) for row in rows.fetchall()]


def _spooled(row: Sequence[Any], now: int) -> Spooled:
    id_, kind, lane, account_sid, sid, sender, recipient, form, received, notice_due, key = row
    inbound = Inbound(
        kind=Kind(kind),
        key=key,
        lane=lane,
        account_sid=account_sid,
        sid=sid,
        sender=sender,
        recipient=recipient,
        form=form,
        notice_after=None if notice_due is None else (notice_due - received) / 1000,
        age=max(0, now - received) / 1000,
        spooled=True,
    )
    return Spooled(id_, inbound)


def _forget(connection: sqlite3.Connection, now: int, ids: Sequence[int]) -> None:
    marks = ",".join("?" * len(ids))
    # What people wrote is overwritten, not left in the file until its place is used again.
    connection.execute("PRAGMA secure_delete = ON")
    gone: list[Any] = connection.execute(
        f"DELETE FROM messages WHERE id IN ({marks}) RETURNING lane", ids
    ).fetchall()
    connection.execute(f"DELETE FROM dedupe_keys WHERE message IN ({marks})", ids)
    tally(connection, "messages", -len(gone))
    for lane in {lane for (lane,) in gone}:
        lanes.advance(connection, MESSAGES, lane, now)


def _count(connection: sqlite3.Connection) -> int:
    (count,) = connection.execute(f"SELECT count(*) FROM messages WHERE {IS_LIVE}").fetchone()
    return int(count)


def open_spool(url: str) -> Spool:
    """Return the spool that a URL names; `await spool.open()` opens it.

    Args:
        url: `sqlite:////absolute/path.db`, on a disk of this machine that stays.

    Raises:
        SettingsError: when no spool has such a URL.
    """
    if (path := sqlite_file(url)) is None:
        raise SettingsError("OFFHOOK_SPOOL should look like sqlite:////var/lib/bot/spool.db")

    return SqliteSpool(path)
