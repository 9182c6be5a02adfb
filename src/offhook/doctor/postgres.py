"""Checks of a PostgreSQL server: version, privileges, durability, connections, standbys, clock.

They use a connection of their own rather than the store, which hides errors of the driver.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

import asyncpg

from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.settings import Settings
from offhook.stores.migrations import migrations
from offhook.stores.postgres.privileges import Server, denied

_TIMEOUT: Final = 5.0  # seconds
_OLDEST: Final = 140000  # server_version_num; 14 is the oldest still maintained in late 2026
# Per process, besides the store's pool: one for LISTEN, and one for a worker's heartbeat.
_MORE_CONNECTIONS: Final = 2
_ERRORS: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)
_SKEW: Final = 2.0  # seconds between the clocks
_LOST: Final = frozenset({"off"})
_LOCAL: Final = frozenset({"local", "remote_write"})

# Without the role pg_monitor, sync_state is NULL: any standby may be one that commits wait for.
_WAITED_FOR: Final = """
    SELECT count(*) FROM pg_stat_replication
     WHERE coalesce(sync_state, 'quorum') IN ('sync', 'quorum')
"""


async def server(settings: Settings) -> Findings:
    """Check the server that `OFFHOOK_STORE` names."""
    try:
        async with _connected(settings) as connection:
            return await _examine(connection, settings)
    except _ERRORS as error:
        # Its text may hold the URL, and so a password: report the type only.
        remedy = "Check host, port, user and password in OFFHOOK_STORE, and that the server runs."
        text = f"cannot connect: {type(error).__name__}"
        return [fail("PostgreSQL", text, remedy)]


async def schema(settings: Settings) -> Finding | None:
    """Return a finding if opening the store would migrate the database; None otherwise."""
    try:
        async with _connected(settings) as connection:
            version = await _schema_version(connection)
    except _ERRORS:
        return None  # reported by `server`
    known = len(migrations("offhook.stores.postgres.migrations"))
    if not version:
        return warn("store", "not created in this database yet", "`offhook migrate` creates it.")
    if version < known:
        text = f"its schema is version {version}, this offhook's is {known}"
        return warn("store", text, "Run `offhook migrate`; every start migrates too.")
    return None


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Server]:
    url = settings.store.get_secret_value()
    connection = await asyncpg.connect(url, timeout=_TIMEOUT, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close(timeout=_TIMEOUT)


async def _schema_version(connection: Server) -> int:
    if await _value(connection, "SELECT to_regclass('offhook.migrations') IS NULL"):
        return 0
    return int(await _value(connection, "SELECT coalesce(max(version), 0) FROM offhook.migrations"))


async def _examine(connection: Server, settings: Settings) -> Findings:
    return [
        await _version(connection),
        await _writable(connection),
        *await _privileges(connection),
        await _connections(connection, settings),
        *await _durability(connection),
        *await _standbys(connection),
        await _autovacuum(connection),
        await _clock(connection),
    ]


async def _version(connection: Server) -> Finding:
    shown = await _setting(connection, "server_version")
    if int(await _setting(connection, "server_version_num")) < _OLDEST:
        text = f"version {shown} is no longer supported by PostgreSQL"
        return fail("PostgreSQL", text, f"Use version {_OLDEST // 10000} or newer.")
    return ok("PostgreSQL", f"version {shown}")


async def _writable(connection: Server) -> Finding:
    if await _value(connection, "SELECT pg_is_in_recovery()"):
        remedy = "Use the primary; with several hosts, add target_session_attrs=read-write."
        return fail("PostgreSQL", "the server is a read-only standby", remedy)
    if await _setting(connection, "transaction_read_only") == "on":
        remedy = "Check default_transaction_read_only of the server, the database and the user."
        return fail("PostgreSQL", "the server is set to read-only", remedy)
    return ok("PostgreSQL", "writable")


async def _privileges(connection: Server) -> Findings:
    found = await denied(connection)
    return [] if found is None else [fail("privileges", found.text, found.remedy)]


async def _connections(connection: Server, settings: Settings) -> Finding:
    most = int(await _setting(connection, "max_connections"))
    reserved = int(await _setting(connection, "superuser_reserved_connections"))
    processes = settings.ingresses + settings.workers
    wanted, room = processes * (settings.store_pool + _MORE_CONNECTIONS), most - reserved
    text = f"{processes} processes here use up to {wanted} of {room} connections"
    if wanted <= room:
        return ok("connections", text)
    remedy = "Raise max_connections, lower OFFHOOK_STORE_POOL, or use PgBouncer."
    return fail("connections", text, remedy)


async def _durability(connection: Server) -> Findings:
    findings = []
    if await _setting(connection, "fsync") == "off":
        text = "fsync is off: a power failure can destroy the database"
        findings.append(fail("durability", text, "Set fsync = on."))
    if await _setting(connection, "full_page_writes") == "off":
        text = "full_page_writes is off: a power failure can leave torn pages"
        remedy = "Set full_page_writes = on, unless the file system writes pages atomically."
        findings.append(warn("durability", text, remedy))
    commit = await _setting(connection, "synchronous_commit")
    if commit in _LOST:
        text = "synchronous_commit is off: acknowledged messages can be lost"
        findings.append(fail("durability", text, "Set synchronous_commit = on."))
    return findings or [ok("durability", f"synchronous_commit is {commit}")]


async def _standbys(connection: Server) -> Findings:
    """Check that a failover keeps acknowledged messages, which takes a quorum of standbys."""
    names = await _setting(connection, "synchronous_standby_names")
    commit = await _setting(connection, "synchronous_commit")
    attached = int(await _value(connection, "SELECT count(*) FROM pg_stat_replication"))
    if not names and not attached:
        return []
    if not names:
        text = f"{attached} standbys, none synchronous: a failover loses the latest messages"
        remedy = "Set synchronous_standby_names = 'ANY 1 (...)'."
        return [warn("standbys", text, remedy)]
    if commit in _LOCAL | _LOST:
        text = f"synchronous_commit is {commit}: commits do not wait for standbys to flush"
        return [warn("standbys", text, "Set synchronous_commit = on.")]
    if not await _value(connection, _WAITED_FOR):
        text = f"commits wait for {names}, none of which is connected: nothing can be stored"
        return [
            fail("standbys", text, "Start one, or check application_name in its primary_conninfo.")
        ]
    return [ok("standbys", f"commits wait for {names}")]


async def _autovacuum(connection: Server) -> Finding:
    if await _setting(connection, "autovacuum") == "off":
        text = "autovacuum is off: a queue's tables bloat and slow down within hours"
        return fail("autovacuum", text, "Set autovacuum = on.")
    return ok("autovacuum", "on")


async def _clock(connection: Server) -> Finding:
    before = time.time()
    theirs = float(await _value(connection, "SELECT extract(epoch FROM clock_timestamp())"))
    skew = theirs - (before + time.time()) / 2
    if abs(skew) > _SKEW:
        text = (
            f"the server's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours"
        )
        remedy = "Use NTP on both. Only logs are affected: offhook uses the server's clock."
        return warn("clock", text, remedy)
    return ok("clock", "the server's clock agrees with ours")


async def _setting(connection: Server, name: str) -> str:
    return str(await _value(connection, "SELECT current_setting($1)", name))


async def _value(connection: Server, query: str, *values: object) -> Any:
    return await connection.fetchval(query, *values)
