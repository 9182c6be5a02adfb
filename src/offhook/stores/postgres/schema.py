"""Bring a database's schema up to date: numbered migrations, and the functions of this version."""

import asyncio
from collections.abc import Callable, Sequence
from typing import Final

from offhook.errors import StoreError
from offhook.stores.migrations import Migration, migrations, missing
from offhook.stores.postgres import (
    aliases,
    claiming,
    deliveries,
    lanes,
    ledger,
    send_requests,
    settling,
    sorting,
)
from offhook.stores.postgres.functions import Function, with_needs
from offhook.stores.postgres.pool import Connection, Pool

OLDEST: Final = 14
"""The oldest PostgreSQL that this is tested to need: earlier ones lack some of its SQL."""

FUNCTIONS: Final[Sequence[Function]] = with_needs(
    (
        *sorting.FUNCTIONS, *lanes.FUNCTIONS, *claiming.FUNCTIONS, *settling.FUNCTIONS,
        *ledger.FUNCTIONS, *deliveries.FUNCTIONS, *send_requests.FUNCTIONS,
        *aliases.FUNCTIONS,
    )
)  # fmt: skip

# Seconds. An index over all messages may take minutes; cut off, it would begin anew each time.
_TIMEOUT: Final = 3600.0
_LOCK: Final = 0x6F66_6668_6F6F_6B  # "offhook": one migrates, the others wait and find it done
# Seconds between two looks at the lock, the first and the longest. Waiting within a statement
# holds a snapshot, for which CREATE INDEX CONCURRENTLY waits; and misses a server that goes down.
_FIRST_LOOK: Final = 0.05
_LAST_LOOK: Final = 1.0

OURS: Final = "its schema is being migrated"
ANOTHERS: Final = "its schema is being migrated by another process"


async def migrate(pool: Pool, tell: Callable[[str], None]) -> None:
    """Apply the migrations that are missing, in one transaction, which may take an hour.

    A role without CREATE can open a store that is up to date.

    Args:
        pool: of connections to the database.
        tell: called with `OURS` or `ANOTHERS` before that is waited for.

    Raises:
        SchemaTooNew: the database was written by a newer offhook.
        StoreError: the database can't hold a store.
        StoreUnavailable: it can't be reached.
    """
    async with pool.acquire() as connection:
        await _check(connection)
        version = await _version(connection)
        if not missing(_known(), version) and not await _missing_functions(connection):
            return
    pause = _FIRST_LOOK
    while not await _migrate_if_free(pool, tell):
        tell(ANOTHERS)
        await asyncio.sleep(pause)
        pause = min(_LAST_LOOK, 2 * pause)


async def _migrate_if_free(pool: Pool, tell: Callable[[str], None]) -> bool:
    """Bring the schema up to date; return False if another process is doing so."""
    async with pool.transaction() as connection:
        if not await connection.fetchval("SELECT pg_try_advisory_xact_lock($1)", _LOCK):
            return False
        tell(OURS)
        # A limit that the role or the database has is for queries.
        await connection.execute(f"SET LOCAL statement_timeout = '{_TIMEOUT:.0f}s'")
        # A migration whose process has ended would go on with its locks, to be rolled back at its
        # end. PostgreSQL 14 can look for that on Linux alone, and refuses to try elsewhere.
        await connection.execute(
            "SELECT set_config('client_connection_check_interval', '1s', true) "
            "WHERE version() LIKE '%linux%'"
        )
        await _bring_up_to_date(connection)
    return True


async def _bring_up_to_date(connection: Connection) -> None:
    version = await _version(connection)
    if not version:
        await connection.execute(
            "CREATE SCHEMA IF NOT EXISTS offhook; CREATE TABLE IF NOT EXISTS offhook.migrations "
            "(version integer PRIMARY KEY, applied timestamptz NOT NULL DEFAULT now())"
        )
    for migration in missing(_known(), version):
        await connection.execute(migration.sql, timeout=_TIMEOUT)
        await connection.execute(
            "INSERT INTO offhook.migrations (version) VALUES ($1)", migration.version
        )
    absent = await _missing_functions(connection)
    for function in FUNCTIONS:
        if function.name in absent:
            await connection.execute(function.definition)


async def _check(connection: Connection) -> None:
    server = connection.get_server_version()
    if server.major < OLDEST:
        raise StoreError(f"this is PostgreSQL {server.major}: offhook needs {OLDEST} or newer")
    isolation = await connection.fetchval("SELECT current_setting('default_transaction_isolation')")
    if isolation != "read committed":
        # What was committed before a lock was had would not be seen behind it.
        raise StoreError(
            f"default_transaction_isolation is {isolation!r}, offhook needs 'read committed': "
            "set it with ALTER DATABASE or ALTER ROLE, or remove the setting"
        )


async def _version(connection: Connection) -> int:
    """Return the number of the last migration that has been applied."""
    # Not by to_regclass: behind the lock it may still answer from this connection's cache.
    exists = await connection.fetchval(
        "SELECT EXISTS (SELECT FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE nspname = 'offhook' AND relname = 'migrations')"
    )
    if not exists:
        return 0
    return int(
        await connection.fetchval("SELECT coalesce(max(version), 0) FROM offhook.migrations")
    )


def _known() -> tuple[Migration, ...]:
    return migrations("offhook.stores.postgres.migrations")


async def _missing_functions(connection: Connection) -> frozenset[str]:
    names = [function.name for function in FUNCTIONS]
    rows = await connection.fetch(
        "SELECT proname FROM pg_proc JOIN pg_namespace ON pg_namespace.oid = pronamespace "
        "WHERE nspname = 'offhook' AND proname = ANY($1::text[])",
        names,
    )
    return frozenset(names) - {row["proname"] for row in rows}
