"""The stores, opened by URL. Every store implements `offhook.stores.api.Store`."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from offhook.core.connection_uri import ConnectionUri, is_postgres, problem, sqlite_file
from offhook.errors import SettingsError
from offhook.settings import Settings
from offhook.stores.api import Store
from offhook.stores.availability import open_reporting


def store_of(settings: Settings, *, create: bool = True, follow: bool = True) -> Store:
    """Return the store that the settings name; `await store.open()` connects it.

    Everything that runs opens its store here, so that no setting of the store is forgotten.

    Args:
        settings: `store` and what begins with it are used.
        create: as of `open_store`.
        follow: likewise.

    Raises:
        SettingsError: when no store has such a URL.
    """
    return open_store(
        settings.store.get_secret_value(),
        direct=settings.store_direct.get_secret_value(),
        pool=settings.store_pool,
        timeout=settings.store_timeout,
        create=create,
        follow=follow,
    )


def open_store(
    url: str,
    *,
    direct: str = "",
    pool: int = 6,
    timeout: float = 10.0,
    create: bool = True,
    follow: bool = True,
) -> Store:
    """Return the store that a URL names; `await store.open()` connects it.

    Args:
        url: `sqlite:///relative.db`, `sqlite:////absolute/path.db` or
            `postgresql://user:password@host:port/database`.
        direct: PostgreSQL: the same database without the pooler, for LISTEN and for the lock that
            shows that a worker lives.
        pool: PostgreSQL: connections that are opened at most, without that for LISTEN.
        timeout: PostgreSQL: seconds until an answer is no longer waited for.
        create: SQLite: whether to make the file where there is none.
        follow: SQLite: whether to go on when another file takes its name; a holder of leases
            must not.

    Raises:
        SettingsError: when no store has such a URL.
    """
    # Imported when asked for: users of one store need not load the other.
    if is_postgres(url):
        for name, given in (("OFFHOOK_STORE", url), ("OFFHOOK_STORE_DIRECT", direct)):
            if given and (reason := problem(given)):
                raise SettingsError(f"{name}: {reason}")
        from offhook.stores.postgres import PostgresStore  # noqa: PLC0415

        return PostgresStore(url, direct=direct, pool=pool, timeout=timeout)
    if (path := sqlite_file(url)) is None:
        # Without what was given: it may hold a password.
        raise SettingsError(
            "OFFHOOK_STORE should look like sqlite:///offhook.db or "
            "postgresql://user:password@host/database"
        )
    from offhook.stores.sqlite import SqliteStore  # noqa: PLC0415

    return SqliteStore(path, create=create, follow=follow)


def place_of(settings: Settings) -> str:
    """Return where the store is, as it may be seen: its URL without user and password."""
    url = settings.store.get_secret_value()
    return url if sqlite_file(url) is not None else ConnectionUri.parse(url).shown


@asynccontextmanager
async def opened(
    settings: Settings,
    *,
    create: bool = True,
    report: Callable[[str], None] = lambda _: None,
) -> AsyncIterator[Store]:
    """Open the store within the context.

    Args:
        settings: name it.
        create: as of `open_store`.
        report: called with the reason, if opening it takes long.

    Raises:
        StoreError: it can't be used.
    """
    store = store_of(settings, create=create)
    await open_reporting(store, report)
    try:
        yield store
    finally:
        await store.close()
