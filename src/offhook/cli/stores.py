"""The store, for commands that look into it."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from offhook.core.connection_uri import ConnectionUri
from offhook.dev.session import running
from offhook.dev.store import FOLDER
from offhook.errors import ConfigurationError
from offhook.settings import Settings
from offhook.stores import opened, place_of
from offhook.stores.api import Store
from offhook.terminal import complain

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


def settings_beside_dev(store: str | None) -> Settings:
    """Return the settings, for looking at messages where an `offhook dev` may run.

    It has a store of its own, which is used if it is the only one in this directory. Otherwise a
    line says how it is named.

    Raises:
        SettingsError: one is wrong.
    """
    settings = settings_with(store)
    stores = [] if store is not None else _stores_of_dev(Path.cwd() / FOLDER)
    if not stores:
        return settings
    path = settings.store_file
    chosen = "store" in settings.model_fields_set or path is None or path.exists()
    if not chosen and len(stores) == 1:
        return Settings.load(store=stores[0], store_direct="")
    others = " or ".join(f"--store {one}" for one in stores)
    complain(f"this is {place_of(settings)}; for the store of `offhook dev` add {others}")
    return settings


def _stores_of_dev(folder: Path) -> list[str]:
    """Return the URLs of those that run with their stores in a folder."""
    with suppress(ConfigurationError):  # the directory of such notes is not safe: there are none
        stores = [Path(one.store) for one in running()]
        return [f"sqlite:///{FOLDER}/{path.name}" for path in stores if path.parent == folder]
    return []


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
            f"or name it with --store or OFFHOOK_STORE{_left_by_dev()}"
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


def _left_by_dev() -> str:
    left = sorted(path.as_posix() for path in Path(FOLDER).glob("dev*.db"))
    return f"; `offhook dev` has left one: --store sqlite:///{left[0]}" if left else ""
