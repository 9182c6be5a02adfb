"""The store, for commands that look into it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from offhook.cli.output import complain
from offhook.core.connection_uri import ConnectionUri
from offhook.errors import ConfigurationError
from offhook.ports import Store
from offhook.settings import Settings
from offhook.stores import store_of

# Seconds. A bot that was started in the same moment has made its store within them.
_MOMENT: Final = 1.0
_LOOK: Final = 0.02


def settings_with(store: str | None) -> Settings:
    """Return the settings; the URL of a store given on the command line wins.

    Raises:
        SettingsError: one is wrong.
    """
    if store is None:
        return Settings.load()
    # OFFHOOK_STORE_DIRECT leads to the database of OFFHOOK_STORE.
    settings = Settings.load(store=store, store_direct="")
    if ConnectionUri.parse(store).has_password:
        complain("anybody on this machine can see the password in --store: use OFFHOOK_STORE")
    return settings


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Store]:
    """Open the store within the context; it is made where there is none.

    Raises:
        StoreError: it can't be used.
    """
    store = store_of(settings)
    try:
        await store.open()
        yield store
    finally:
        await store.close()


@asynccontextmanager
async def existing(settings: Settings) -> AsyncIterator[Store]:
    """Open the store within the context, if there is one, or one is being made just now.

    Raises:
        ConfigurationError: there is none.
        StoreError: it can't be used.
    """
    path = settings.store_file
    if path is not None and not await _appears(path):
        raise ConfigurationError(
            f"there is no store at {path}: go to the directory of your bot, "
            "or name it with --store or OFFHOOK_STORE"
        )
    async with opened(settings) as store:
        yield store


async def _appears(path: Path) -> bool:
    """Return whether there is a file, or there is one soon: another process may just start."""
    until = time.monotonic() + _MOMENT
    while not path.exists():  # noqa: ASYNC240 - seldom, and nothing else runs
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(_LOOK)
    return True
