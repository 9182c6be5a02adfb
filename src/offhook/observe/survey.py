"""How a machine does: everything that can be known of it, of one moment."""

import asyncio
import mmap
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Final, TypeVar

from offhook.clock import steady
from offhook.errors import StoreError
from offhook.observe.host import Host
from offhook.observe.processes import Process, at_work
from offhook.observe.sheet import added
from offhook.ports import Counts

T = TypeVar("T")

# Seconds for which the store is waited for; Prometheus waits 10 for all of a scrape by default.
_PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class Survey:
    """What was found.

    Attributes:
        at: when, in seconds of `clock.steady`: it is compared with others.
        rows: what this machine's processes have counted; see `sheet.added`.
        processes: those of this machine that are at work.
        counts: what the store holds; None when it could not be read.
        host: what is used of the machine itself.
        spooled: webhooks in this machine's spool; None without one, or when it could not be read.
    """

    at: float
    rows: Mapping[str, tuple[float, ...]]
    processes: tuple[Process, ...]
    counts: Counts | None
    host: Host = field(default_factory=Host)
    spooled: int | None = None


class Surveyor:
    """Looks at a machine.

    Args:
        sheets: what its processes count in, by their names.
        count: asks the store.
        own: a name for this process, when it is none of those.
        disks: directories whose disks must not be full, by what is on them.
        spooled: asks the spool, if there is one.
    """

    def __init__(
        self,
        sheets: Mapping[str, mmap.mmap],
        count: Callable[[], Awaitable[Counts]],
        *,
        own: str = "",
        disks: Mapping[str, Path] = MappingProxyType({}),
        spooled: Callable[[], Awaitable[int]] | None = None,
    ) -> None:
        self._sheets = sheets
        self._count = count
        self._own = own
        self._disks = disks
        self._spooled = spooled

    async def look(self) -> Survey:
        """Return how it does now. A store that is away, or slow, is no error."""
        counts = await _asked(self._count)
        spooled = None if self._spooled is None else await _asked(self._spooled)
        processes = at_work(self._sheets, own=self._own)
        rows = added(self._sheets.values())
        return Survey(steady(), rows, processes, counts, Host.now(self._disks), spooled)


async def _asked(ask: Callable[[], Awaitable[T]]) -> T | None:
    try:
        async with asyncio.timeout(_PATIENCE):
            return await ask()
    except (StoreError, TimeoutError):
        return None
