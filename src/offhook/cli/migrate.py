"""`offhook migrate`: create the store, or update its schema."""

import asyncio

from offhook.cli.options import StoreOption
from offhook.cli.stores import settings_with
from offhook.settings import Settings
from offhook.stores import opened, place_of
from offhook.terminal import console


def command(*, store: StoreOption = None) -> None:
    """Create the store, or update its schema.

    `offhook run` and `offhook dev` do this when they start; run it separately to do it beforehand.

    [bold]Examples[/]
      offhook migrate
      offhook migrate --store sqlite:////var/lib/bot/offhook.db
    """
    settings = settings_with(store)
    asyncio.run(_migrate(settings))
    console().print(f"{place_of(settings)} is up to date", markup=False)


async def _migrate(settings: Settings) -> None:
    # Opening a store migrates it.
    async with opened(settings, report=lambda reason: console().print(reason, markup=False)):
        pass
