"""The way straight into a store that has neither log nor spool before it."""

from collections.abc import Awaitable, Callable

from offhook.core.inbound import Inbound, Webhook
from offhook.stores.api import Append, Store


class DirectStore:
    """Keeps `api.Entrance` before a store: reads webhooks, and stores them before the answer.

    Args:
        store: opened and closed here.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self.accept = reading(store.accept)
        self.open = store.open
        self.close = store.close
        self.check = store.check
        self.backlog = store.backlog

    async def knows(self, webhook: Webhook) -> bool:
        """See `api.Entrance.knows`."""
        return await self._store.knows(Inbound.of(webhook))


def reading(append: Callable[[Inbound], Awaitable[bool]]) -> Append[Webhook]:
    """Return what reads webhooks before it appends them; those in a log are read by the sorter."""
    return lambda webhook: append(Inbound.of(webhook))
