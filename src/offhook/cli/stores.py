"""Open the store for the commands that read or change it."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Final

from offhook.arrivals import forwarder
from offhook.core.connection_uri import ConnectionUri
from offhook.dev.session import running
from offhook.dev.store import FOLDER
from offhook.errors import ConfigurationError, StoreUnavailable
from offhook.events import Event, Problem
from offhook.settings import Settings, variable, variables
from offhook.stores import opened, place_of
from offhook.stores.api import Store
from offhook.terminal import complain
from offhook.worker import sorter

_CREATION_TIMEOUT: Final = 1.0  # seconds for a bot that has just started to create its store
_CATCH_UP_TIMEOUT: Final = 5.0  # seconds: tens of thousands of messages
_UNSORTED: Final = (
    "some messages were acknowledged and are not in the store yet: a running worker, or an ingress "
    "with a spool, moves them there"
)
_POLL_INTERVAL: Final = 0.02


def settings_with(store: str | None) -> Settings:
    """Return the settings, with the URL of a store given on the command line.

    Raises:
        SettingsError: a setting is wrong.
    """
    if store is None:
        return Settings.load()
    # OFFHOOK_STORE_DIRECT leads to the database of OFFHOOK_STORE, and so does the spool.
    settings = Settings.load(store=store, store_direct="", spool="")
    if ConnectionUri.parse(store).has_password:
        complain("every user of this machine can see the password in --store: use OFFHOOK_STORE")
    return settings


def settings_beside_dev(store: str | None) -> Settings:
    """Return the settings, with the store of a running `offhook dev` if no other is meant.

    That is the case if neither `store` nor a setting names a store, the default one does not exist,
    and one `offhook dev` runs in this directory. Otherwise its store is named on standard error.

    Raises:
        SettingsError: a setting is wrong.
    """
    settings = settings_with(store)
    stores = [] if store is not None else _stores_of_dev(Path.cwd() / FOLDER)
    if not stores:
        return settings
    path = settings.store_file
    chosen = variable("store") in variables() or path is None or path.exists()
    if not chosen and len(stores) == 1:
        return Settings.load(store=stores[0], store_direct="")
    others = " or ".join(f"--store {one}" for one in stores)
    complain(f"using {place_of(settings)}; for the store of `offhook dev`, add {others}")
    return settings


def _stores_of_dev(folder: Path) -> list[str]:
    """Return the stores in a folder that a running `offhook dev` uses, as URLs."""
    with suppress(ConfigurationError):  # the directory of session files is not safe: none is there
        stores = [Path(one.store) for one in running()]
        return [f"sqlite:///{FOLDER}/{path.name}" for path in stores if path.parent == folder]
    return []


@asynccontextmanager
async def existing(
    settings: Settings,
    *,
    patience: float = _CATCH_UP_TIMEOUT,
    unsorted: Callable[[str], None] = complain,
) -> AsyncIterator[Store]:
    """Open the store within the context, if it exists or is created within a second.

    What has been acknowledged by then is in it, or it is said that it is not.

    Args:
        settings: name it.
        patience: seconds until what is still in the arrivals logs, or in the spool of this machine,
            is not waited for any more.
        unsorted: called with a sentence if some of that is not in the store.

    Raises:
        ConfigurationError: it does not exist.
        StoreError: it can't be used.
    """
    path = settings.store_file
    if path is not None and not await _appears(path):
        raise ConfigurationError(
            f"there is no store at {path}: change to the directory of your bot, "
            f"or name the store with --store or OFFHOOK_STORE{_left_by_dev()}"
        )
    async with opened(settings) as store:
        try:
            if not await _catch_up(store, settings, patience):
                unsorted(_UNSORTED)
        except StoreUnavailable as error:  # a store that can't be written may still be read
            unsorted(f"{_UNSORTED} ({error})")
        yield store


async def _catch_up(store: Store, settings: Settings, patience: float) -> bool:
    spool = settings.spool_file
    if spool is None:
        return await sorter.catch_up(store, _complain_of, patience=patience)
    return await forwarder.catch_up(spool, store.accept_all, _complain_of, patience=patience)


def _complain_of(event: Event) -> None:
    if isinstance(event, Problem):
        complain(event.text)


async def _appears(path: Path) -> bool:
    """Return whether a file exists, or does so within `_CREATION_TIMEOUT`."""
    until = time.monotonic() + _CREATION_TIMEOUT
    while not path.exists():  # noqa: ASYNC240 - nothing else runs
        if time.monotonic() >= until:
            return False
        await asyncio.sleep(_POLL_INTERVAL)
    return True


def _left_by_dev() -> str:
    left = sorted(path.as_posix() for path in Path(FOLDER).glob("dev*.db"))
    return f"; `offhook dev` has left one: --store sqlite:///{left[0]}" if left else ""
