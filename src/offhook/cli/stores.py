"""The store, for commands that look into it."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from offhook.errors import ConfigurationError
from offhook.ports import Store
from offhook.settings import Settings
from offhook.stores import open_store


def store_url(given: str | None) -> str:
    """Return the URL of the store: the one given on the command line, or the setting.

    Raises:
        SettingsError: it is no store's.
    """
    return (Settings.load() if given is None else Settings.load(store=given)).store


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    """Open a store within the context; it is made where there is none.

    Raises:
        StoreError: it can't be used.
    """
    store = open_store(url)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def existing(url: str) -> AsyncIterator[Store]:
    """Open a store within the context, if there is one.

    Raises:
        ConfigurationError: there is none.
        StoreError: it can't be used.
    """
    _check(url)
    async with opened(url) as store:
        yield store


def _check(url: str) -> None:
    if not url.startswith("sqlite:///"):
        return
    path = Path(url.removeprefix("sqlite:///")).expanduser()
    if not path.exists():
        raise ConfigurationError(
            f"there is no store at {path.absolute()}: go to the directory of your bot, "
            "or name it with --store or OFFHOOK_STORE"
        )
