"""Samples of the last half hour, taken every two seconds and kept in memory."""

import asyncio
import time
from bisect import bisect_right
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from offhook.admin.figures import Figures
from offhook.clock import steady
from offhook.observe.system import Snapshot
from offhook.stores.api import Counts

TakeSnapshot = Callable[[], Awaitable[Snapshot]]
"""Returns a snapshot of this machine; must not raise."""

PERIOD: Final = 2.0
KEPT: Final = 1800.0  # seconds
_SHARE: Final = 20.0  # at most a twentieth of the time is spent sampling
_SHORTEST: Final = 60.0  # seconds that charts show at least
_BINS: Final = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """The figures at one moment.

    Attributes:
        at: of its snapshot.
        counts: of the store; None if it could not be read.
        took: seconds that the snapshot took.
    """

    at: float
    counts: Counts | None
    took: float
    figures: Figures


@dataclass(frozen=True, slots=True)
class Bin:
    """An interval of a chart.

    Attributes:
        figures: their increase within it.
        last: its last sample.
    """

    end: float
    figures: Figures | None
    last: Sample | None


class Sampler:
    """Takes and keeps samples.

    Args:
        take_snapshot: see `TakeSnapshot`.
    """

    def __init__(self, take_snapshot: TakeSnapshot) -> None:
        self._take_snapshot = take_snapshot
        self.samples: deque[Sample] = deque(maxlen=int(KEPT / PERIOD))

    async def run(self) -> None:
        """Take samples until cancelled."""
        while True:
            sample = await self.take()
            await asyncio.sleep(max(PERIOD, _SHARE * sample.took))

    async def take(self) -> Sample:
        """Take a sample."""
        began = time.monotonic()
        found = await self._take_snapshot()
        took = time.monotonic() - began
        sample = Sample(found.at, found.counts, took, Figures.of(found))
        self.samples.append(sample)
        return sample

    def recent(self, seconds: float) -> Figures | None:
        """Return the increase of the figures in the last seconds; None without samples."""
        if not self.samples:
            return None
        first = self._before(steady() - seconds) or self.samples[0]
        return self.samples[-1].figures.since(first.figures)

    def bins(self) -> list[Bin]:
        """Return the kept period in equal intervals, the oldest first."""
        if not self.samples:
            return []
        now = self.samples[-1].at
        length = max(_SHORTEST, min(KEPT, now - self.samples[0].at)) / _BINS
        made = []
        before = self._before(now - _BINS * length) or self.samples[0]
        for number in range(_BINS):
            end = now - (_BINS - 1 - number) * length
            last = self._before(end)
            if last is None or last.at <= end - length:
                made.append(Bin(end, None, None))
                continue
            made.append(Bin(end, last.figures.since(before.figures), last))
            before = last
        return made

    def _before(self, moment: float) -> Sample | None:
        """Return the last sample at or before a moment."""
        place = bisect_right(self.samples, moment, key=lambda sample: sample.at)
        return self.samples[place - 1] if place else None
