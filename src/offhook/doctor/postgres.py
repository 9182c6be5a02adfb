"""Checks of a PostgreSQL server: whether it keeps what it has committed, and has room for us.

Asked of the server itself, not by way of the store, which would not say.
"""

import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

import asyncpg

from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.settings import Settings
from offhook.stores.migrations import migrations

_PATIENCE: Final = 5.0  # seconds
_OLDEST: Final = 140000  # server_version_num; 14 is the oldest still maintained in late 2026
# Of one process, besides the store's pool: one that listens, and one of a worker's heartbeat.
_MORE_CONNECTIONS: Final = 2
_ERRORS: Final = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, ValueError)
_SKEW: Final = 2.0  # seconds between the clocks
_LOST: Final = frozenset({"off"})
_LOCAL: Final = frozenset({"local", "remote_write"})

# Who may not see the state (it takes the role pg_monitor) is told of none: all may be waited for.
_WAITED_FOR: Final = """
    SELECT count(*) FROM pg_stat_replication
     WHERE coalesce(sync_state, 'quorum') IN ('sync', 'quorum')
"""


class Server(Protocol):
    """What is asked here of a connection."""

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the one value of a query."""
        ...


async def server(settings: Settings) -> Findings:
    """Look at the server that `OFFHOOK_STORE` names."""
    if settings.store_file is not None:
        return []
    try:
        async with _connected(settings) as connection:
            return await _examine(connection, settings)
    except _ERRORS as error:
        # Its text may hold the URL, and so a password: the type says which of the usual it is.
        remedy = "See host, port, user and password in OFFHOOK_STORE, and whether it runs."
        text = f"it can't be asked: {type(error).__name__}"
        return [fail("PostgreSQL", text, remedy)]


async def schema(settings: Settings) -> Finding | None:
    """Return what is to be said of a database that opening would migrate; else None."""
    try:
        async with _connected(settings) as connection:
            version = await _schema_version(connection)
    except _ERRORS:
        return None  # told by `server`
    known = len(migrations("offhook.stores.postgres.migrations"))
    if not version:
        return warn("store", "there is none in this database yet", "`offhook migrate` makes it.")
    if version < known:
        text = f"its schema is {version}, this offhook's is {known}"
        return warn("store", text, "`offhook migrate` brings it up to date, as every start does.")
    return None


@asynccontextmanager
async def _connected(settings: Settings) -> AsyncIterator[Server]:
    url = settings.store.get_secret_value()
    connection = await asyncpg.connect(url, timeout=_PATIENCE, statement_cache_size=0)
    try:
        yield connection
    finally:
        await connection.close(timeout=_PATIENCE)


async def _schema_version(connection: Server) -> int:
    if await _value(connection, "SELECT to_regclass('offhook.migrations') IS NULL"):
        return 0
    return int(await _value(connection, "SELECT coalesce(max(version), 0) FROM offhook.migrations"))


async def _examine(connection: Server, settings: Settings) -> Findings:
    return [
        await _version(connection),
        await _writable(connection),
        await _connections(connection, settings),
        *await _durability(connection),
        *await _standbys(connection),
        await _autovacuum(connection),
        await _clock(connection),
    ]


async def _version(connection: Server) -> Finding:
    shown = await _setting(connection, "server_version")
    if int(await _setting(connection, "server_version_num")) < _OLDEST:
        text = f"version {shown} is not maintained any more"
        return fail("PostgreSQL", text, f"Use version {_OLDEST // 10000} or a newer one.")
    return ok("PostgreSQL", f"version {shown}")


async def _writable(connection: Server) -> Finding:
    if await _value(connection, "SELECT pg_is_in_recovery()"):
        remedy = "Name the primary; with several hosts, add target_session_attrs=read-write."
        return fail("PostgreSQL", "it is a standby, which can't be written", remedy)
    if await _setting(connection, "transaction_read_only") == "on":
        remedy = "See default_transaction_read_only of the server, the database and the user."
        return fail("PostgreSQL", "it is set to read only", remedy)
    return ok("PostgreSQL", "it can be written")


async def _connections(connection: Server, settings: Settings) -> Finding:
    most = int(await _setting(connection, "max_connections"))
    reserved = int(await _setting(connection, "superuser_reserved_connections"))
    processes = settings.ingresses + settings.workers
    wanted, room = processes * (settings.store_pool + _MORE_CONNECTIONS), most - reserved
    text = f"{processes} processes here take up to {wanted} connections of {room}"
    if wanted <= room:
        return ok("connections", text)
    remedy = "Raise max_connections, lower OFFHOOK_STORE_POOL, or put PgBouncer in between."
    return fail("connections", text, remedy)


async def _durability(connection: Server) -> Findings:
    findings = []
    if await _setting(connection, "fsync") == "off":
        text = "fsync is off: a power cut destroys the database"
        findings.append(fail("durability", text, "Set fsync = on."))
    if await _setting(connection, "full_page_writes") == "off":
        text = "full_page_writes is off: a power cut can leave torn pages"
        remedy = "Set full_page_writes = on, unless the file system writes pages whole."
        findings.append(warn("durability", text, remedy))
    commit = await _setting(connection, "synchronous_commit")
    if commit in _LOST:
        text = "synchronous_commit is off: what was acknowledged can be lost"
        findings.append(fail("durability", text, "Set synchronous_commit = on."))
    return findings or [ok("durability", f"synchronous_commit is {commit}")]


async def _standbys(connection: Server) -> Findings:
    """Look whether a failover keeps what was acknowledged: only a quorum of standbys does."""
    names = await _setting(connection, "synchronous_standby_names")
    commit = await _setting(connection, "synchronous_commit")
    attached = int(await _value(connection, "SELECT count(*) FROM pg_stat_replication"))
    if not names and not attached:
        return []
    if not names:
        text = f"{attached} standbys follow, none synchronously: a failover loses what was last"
        remedy = "Set synchronous_standby_names = 'ANY 1 (...)'."
        return [warn("standbys", text, remedy)]
    if commit in _LOCAL | _LOST:
        text = f"synchronous_commit is {commit}: standbys are not waited for to flush"
        return [warn("standbys", text, "Set synchronous_commit = on.")]
    if not await _value(connection, _WAITED_FOR):
        text = f"a commit waits for {names}, and none of them follows: nothing can be stored"
        return [
            fail("standbys", text, "Start one, or see application_name in its primary_conninfo.")
        ]
    return [ok("standbys", f"a commit waits for {names}")]


async def _autovacuum(connection: Server) -> Finding:
    if await _setting(connection, "autovacuum") == "off":
        text = "autovacuum is off: a queue's tables grow and slow down within hours"
        return fail("autovacuum", text, "Set autovacuum = on.")
    return ok("autovacuum", "it is on")


async def _clock(connection: Server) -> Finding:
    before = time.time()
    theirs = float(await _value(connection, "SELECT extract(epoch FROM clock_timestamp())"))
    skew = theirs - (before + time.time()) / 2
    if abs(skew) > _SKEW:
        text = f"its clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours"
        remedy = "Let both follow NTP. Nothing breaks (the server's clock counts); logs disagree."
        return warn("clock", text, remedy)
    return ok("clock", "its clock agrees with ours")


async def _setting(connection: Server, name: str) -> str:
    return str(await _value(connection, "SELECT current_setting($1)", name))


async def _value(connection: Server, query: str, *values: object) -> Any:
    return await connection.fetchval(query, *values)
