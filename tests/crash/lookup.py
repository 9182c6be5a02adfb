"""What a crash has left unknown, looked up in Twilio's message list once all is settled."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from unittest.mock import patch

from offhook.concurrency import cancel_and_wait
from offhook.core.lifecycle import SendState
from offhook.core.unknown_sends import FIRST_LOOK, SECOND_LOOK
from offhook.events import Event, LookedUp
from offhook.settings import Settings
from offhook.stores.api import Store
from offhook.worker import unknown_sends
from offhook.worker.unknown_sends import UnknownSends
from testing.stores import opened
from tests.conformance.clocks import clock_of

PATIENCE = 300.0  # seconds for both looks, whatever else the machine does


async def look_up(url: str, settings: Settings) -> None:
    """Look up what is unknown; what is to be sent again, the workers send.

    Args:
        url: of the store.
        settings: of the REST side.
    """
    events: asyncio.Queue[Event] = asyncio.Queue()
    async with (
        asyncio.timeout(PATIENCE),
        opened(url) as store,
        clock_of(url) as clock,
        _looking(UnknownSends(store, settings, events.put_nowait)),
    ):
        for wait in (FIRST_LOOK, SECOND_LOOK):
            unknown = await _unknown(store)
            await clock.advance(int(wait) + 1)
            while unknown:
                unknown -= isinstance(await events.get(), LookedUp)


async def _unknown(store: Store) -> int:
    return (await store.counts()).sends[SendState.UNKNOWN]


@asynccontextmanager
async def _looking(looker: UnknownSends) -> AsyncIterator[None]:
    with patch.multiple(unknown_sends, _EVERY=0.05, _PAUSE=0.0, _AFTER_FAILURE=0.1):
        task = asyncio.create_task(looker.run())
        try:
            yield
        finally:
            await cancel_and_wait(task)
