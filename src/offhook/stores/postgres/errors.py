"""Translate the driver's errors into ours, with the remedy."""

import asyncio
from typing import Final

import asyncpg

from offhook.core.connection_uri import ConnectionUri
from offhook.errors import StoreError, StoreUnavailable

ERRORS: Final = (
    OSError,
    TimeoutError,
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,  # a connection that the server was just about to end
)
"""Everything that talking to a server raises. `asyncio.TimeoutError` is `TimeoutError`."""

# https://www.postgresql.org/docs/current/errcodes-appendix.html: these say that the values can't
# be stored (data, a constraint, a limit of the program), and that trying again is in vain.
_DATA: Final = ("22", "23", "54")


def described(url: str) -> str:
    """Return a store's place without user and password."""
    uri = ConnectionUri.parse(url)
    return f"PostgreSQL at {uri.hosts or 'a local socket'}, database {uri.path or 'of the user'}"


def translated(error: BaseException, url: str) -> StoreError:
    """Return the error to raise in place of a driver's."""
    if isinstance(error, asyncpg.PostgresError) and (error.sqlstate or "").startswith(_DATA):
        # The type alone: the server's words quote the row.
        reason = f"{type(error).__name__}, SQLSTATE {error.sqlstate}"
        return StoreError(f"{described(url)} refuses what it should store: {reason}")
    return StoreUnavailable(f"{described(url)}: {_reason(error, url)}")


def is_harmless(error: BaseException) -> bool:
    """Return whether the connection is as good as before: the server has refused one statement."""
    if not isinstance(error, asyncpg.PostgresError):
        return False
    return not isinstance(
        error,
        asyncpg.PostgresConnectionError
        | asyncpg.OperatorInterventionError
        # A standby, which was the primary until a moment ago: the address may lead elsewhere now.
        | asyncpg.ReadOnlySQLTransactionError,
    )


def _reason(error: BaseException, url: str) -> str:  # noqa: PLR0911 - a table
    user = ConnectionUri.parse(url).user or "the user"
    match error:
        case asyncpg.InvalidPasswordError() | asyncpg.InvalidAuthorizationSpecificationError():
            return (
                f"it refuses {user}: check name and password in OFFHOOK_STORE, "
                f"in which / ? # @ % are percent-encoded ({error})"
            )
        case asyncpg.InvalidCatalogNameError():
            return f"{error}: create it with `createdb`, or correct OFFHOOK_STORE"
        case asyncpg.InsufficientPrivilegeError():
            return f"{error}: {user} needs CREATE on the database, or a schema that is up to date"
        case asyncpg.TooManyConnectionsError():
            return f"{error}: raise max_connections, lower OFFHOOK_STORE_POOL, or use a pooler"
        case asyncpg.ReadOnlySQLTransactionError():
            return "it takes no writes: it is a standby, or default_transaction_read_only is on"
        case asyncpg.CannotConnectNowError():
            return f"it is starting or stopping ({error})"
        case asyncpg.AdminShutdownError() | asyncpg.CrashShutdownError():
            return f"it was stopped ({error})"
        case TimeoutError() | asyncio.CancelledError():
            return "it did not answer in time"
        case OSError():
            return f"it can't be reached ({error.strerror or error})"
        case _:
            return str(error) or type(error).__name__
