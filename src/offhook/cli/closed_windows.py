"""How many replies would meet WhatsApp's closed window, as far as that is known beforehand."""

import time
from collections.abc import Sequence
from typing import Any, Final

from offhook.core.addresses import channel_of
from offhook.core.keys import Kind
from offhook.core.whatsapp_window import WINDOW
from offhook.stores.api import Filter, Record, Store

_LOOKED_AT: Final = 20  # messages of a person: of several numbers of ours, one is this one


class ClosedWindows:
    """Counts messages whose sender has not written for so long that WhatsApp delivers no text."""

    def __init__(self) -> None:
        self.number = 0
        self._is_closed: dict[str, bool] = {}  # by lane

    async def look(self, store: Store, records: Sequence[Record]) -> None:
        """Count those of some messages."""
        for record in records:
            if record.kind is Kind.MESSAGE and channel_of(record.sender) == "whatsapp":
                if record.lane not in self._is_closed:
                    self._is_closed[record.lane] = await _is_closed(store, record)
                self.number += self._is_closed[record.lane]

    def as_object(self) -> dict[str, Any]:
        """Return it for scripts."""
        return {"window_closed": self.number}

    def in_words(self) -> str:
        """Return what is known, and what is not; empty if there is none."""
        if not self.number:
            return ""
        return (
            f"{self.number:,} of them: the person has not written on WhatsApp for 24 hours, so a "
            "text in reply is not delivered (63016), but its fallback is. Which replies have one "
            "is known only when the handlers run."
        )


async def _is_closed(store: Store, record: Record) -> bool:
    wanted = Filter(kind=Kind.MESSAGE, sender=record.sender, limit=_LOOKED_AT)
    found = await store.find(wanted)
    last = max((one.received for one in found if one.lane == record.lane), default=record.received)
    return time.time() - last > WINDOW
