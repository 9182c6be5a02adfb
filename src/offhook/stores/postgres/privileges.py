"""The tables that the role of this process may not use, and the GRANT that it needs."""

import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, Final, NamedTuple, Protocol

import asyncpg

from offhook.errors import StoreDenied

ASK_AGAIN: Final = 300.0
"""Seconds from a refusal until the server is asked again: each is an ERROR in the server's log."""

# A migration's new table belongs to the role that migrates, and no other may use it.
_DENIED: Final = """
    SELECT string_agg(relname, ', ' ORDER BY relname)
      FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace
     WHERE nspname = 'offhook' AND relkind = 'r' AND relname <> 'migrations'
       AND NOT (has_table_privilege(pg_class.oid, 'SELECT')
                AND has_table_privilege(pg_class.oid, 'INSERT')
                AND has_table_privilege(pg_class.oid, 'UPDATE')
                AND has_table_privilege(pg_class.oid, 'DELETE'))
"""


class Server(Protocol):
    """The part of a connection that is used here."""

    async def fetchval(self, query: str, *args: object) -> Any:
        """Return the one value of a query."""
        ...


class Denied(NamedTuple):
    """Privileges that are missing, and what grants them."""

    text: str
    remedy: str


async def denied(server: Server) -> Denied | None:
    """Return which tables the role of a connection may not use; None if it may use all."""
    tables = await server.fetchval(_DENIED)
    if not tables:
        return None
    role = await server.fetchval("SELECT quote_ident(current_user)")
    return Denied(
        f"{role} may not read or change {tables}",
        "As the role that migrates: GRANT SELECT, INSERT, UPDATE, DELETE "
        f"ON ALL TABLES IN SCHEMA offhook TO {role};",
    )


class Privileges:
    """Remembers a refusal for lack of privileges, so that the server is asked again seldom.

    Args:
        clock: monotonic, in seconds.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._refusal = ""
        self._ask_at = 0.0

    @asynccontextmanager
    async def needed(self, server: Server) -> AsyncIterator[None]:
        """Use the tables within the context, outside of any transaction.

        Raises:
            StoreDenied: the server refuses, or has refused within the last `ASK_AGAIN` seconds.
        """
        if self._refusal:
            await self._check(server)
        try:
            yield
        except asyncpg.InsufficientPrivilegeError as error:
            unknown = Denied(str(error), "Grant it as the role that migrates.")
            self._refuse(await denied(server) or unknown)
            raise StoreDenied(self._refusal) from error

    async def _check(self, server: Server) -> None:
        """Ask what is denied, if the last refusal is old; to ask is no ERROR."""
        if self._clock() >= self._ask_at:
            if (found := await denied(server)) is None:
                self._refusal = ""
                return
            self._refuse(found)
        raise StoreDenied(self._refusal)

    def _refuse(self, found: Denied) -> None:
        self._refusal = f"{found.text}. {found.remedy}"
        self._ask_at = self._clock() + ASK_AGAIN
