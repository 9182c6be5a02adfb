"""`offhook migrate`: the store's schema."""

import asyncio

from offhook.cli.options import StoreOption
from offhook.cli.output import console
from offhook.cli.stores import store_url
from offhook.patience import opened
from offhook.stores import open_store


def command(*, store: StoreOption = None) -> None:
    """Creates the store, or updates its schema.

    `offhook run` and `offhook dev` do so at their start; this is for doing it before.

    [bold]Examples[/]
      offhook migrate
      offhook migrate --store sqlite:////var/lib/bot/offhook.db
    """
    url = store_url(store)
    asyncio.run(_migrate(url))
    console().print(f"{url} is up to date", markup=False)


async def _migrate(url: str) -> None:
    store = open_store(url)
    try:
        # Opening is what does it.
        await opened(store, lambda reason: console().print(reason, markup=False))
    finally:
        await store.close()
