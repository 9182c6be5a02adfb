"""Write a batch in one transaction: all together, or each by itself when one fails."""

import asyncio
import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from offhook.errors import OffhookError, StoreError, StoreUnavailable

I = TypeVar("I")  # noqa: E741 - an item
T = TypeVar("T")
Write = Callable[[sqlite3.Connection, int], T]
"""Work on the open transaction, at a time of `StoreClock.now`. What it decides against, it raises
as an OffhookError before it has written anything. Called once more where a batch has to be
repeated; what it wrote before is undone by then."""

BulkWrite = Callable[[sqlite3.Connection, Sequence[I], int], Sequence[T | OffhookError]]
"""Writes all values that a batch has for it by few statements; returns a result for each, or what
it has decided against it."""


@dataclass(slots=True)
class Call(Generic[T]):
    """A write, and the future of its caller."""

    work: Write[T]
    future: "asyncio.Future[T]"
    wakes: bool


@dataclass(slots=True)
class Entry(Generic[I, T]):
    """A value that `write` takes together with others, and the future of its caller."""

    write: BulkWrite[I, T]
    value: I
    future: "asyncio.Future[T]"
    wakes: bool = True


Item = Call[Any] | Entry[Any, Any]
Result = tuple["asyncio.Future[Any]", Any, BaseException | None]

# After these no other write of the batch would fare better, and the transaction may be gone. All
# others are about the values: https://www.sqlite.org/rescode.html
_STORE_ERRORS: Final = frozenset(
    {
        sqlite3.SQLITE_AUTH,
        sqlite3.SQLITE_BUSY,
        sqlite3.SQLITE_CANTOPEN,
        sqlite3.SQLITE_CORRUPT,
        sqlite3.SQLITE_FULL,
        sqlite3.SQLITE_INTERNAL,
        sqlite3.SQLITE_INTERRUPT,
        sqlite3.SQLITE_IOERR,
        sqlite3.SQLITE_LOCKED,
        sqlite3.SQLITE_NOLFS,
        sqlite3.SQLITE_NOMEM,
        sqlite3.SQLITE_NOTADB,
        sqlite3.SQLITE_PERM,
        sqlite3.SQLITE_PROTOCOL,
        sqlite3.SQLITE_READONLY,
    }
)


def fill(connection: sqlite3.Connection, items: Sequence[Item], now: int) -> Sequence[Result]:
    """Write a batch into the open transaction. A write that fails is the only one that does.

    Only a batch with a failure in it pays for that: a savepoint for each write would cost them all.

    Raises:
        sqlite3.Error, OSError: it is the store that fails.
    """
    try:
        return _write_together(connection, items, now)
    except Exception as error:
        if _is_of_store(error):
            raise
    connection.execute("ROLLBACK")
    connection.execute("BEGIN IMMEDIATE")
    return [_write_alone(connection, item, now) for item in items]


def refuse(items: Sequence[Item], error: StoreUnavailable) -> Sequence[Result]:
    """Return the results of a batch that was not written."""
    return [(item.future, None, error) for item in items]


def _write_together(
    connection: sqlite3.Connection, items: Sequence[Item], now: int
) -> Sequence[Result]:
    results: list[Result] = []
    for write, entries in _by_write(items).items():
        made = write(connection, [entry.value for entry in entries], now)
        results += [
            (entry.future, None, one)
            if isinstance(one, OffhookError)
            else (entry.future, one, None)
            for entry, one in zip(entries, made, strict=True)
        ]
    results += [_run(connection, item, now) for item in items if type(item) is Call]
    return results


def _by_write(
    items: Sequence[Item],
) -> dict[BulkWrite[Any, Any], list[Entry[Any, Any]]]:
    found: dict[BulkWrite[Any, Any], list[Entry[Any, Any]]] = {}
    for item in items:
        if type(item) is Entry:
            found.setdefault(item.write, []).append(item)
    return found


def _write_alone(connection: sqlite3.Connection, item: Item, now: int) -> Result:
    connection.execute("SAVEPOINT alone")
    try:
        (result,) = _write_together(connection, [item], now)
    except Exception as error:
        if _is_of_store(error):
            raise
        connection.execute("ROLLBACK TO alone")
        # The type alone: the words of others' errors may quote what people wrote.
        refusal = StoreError(f"the store refuses what it should write: {type(error).__name__}")
        refusal.__cause__ = error
        result = (item.future, None, refusal)
    connection.execute("RELEASE alone")
    return result


def _run(connection: sqlite3.Connection, call: Call[Any], now: int) -> Result:
    try:
        return call.future, call.work(connection, now), None
    except OffhookError as refusal:  # decided before anything was written
        return call.future, None, refusal


def _is_of_store(error: Exception) -> bool:
    if isinstance(error, sqlite3.Error):
        return getattr(error, "sqlite_errorcode", 0) & 0xFF in _STORE_ERRORS
    return isinstance(error, OSError | MemoryError)
