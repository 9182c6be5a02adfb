"""How it went in the last half hour: samples, taken every two seconds and kept in memory."""

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
"""Returns how this machine does now; raises nothing."""

PERIOD: Final = 2.0
KEPT: Final = 1800.0  # seconds
_SHARE: Final = 20.0  # of the time, no more than this part is spent looking
_SHORTEST: Final = 60.0  # seconds that are shown, however young this process is
_BINS: Final = 60


@dataclass(frozen=True, slots=True)
class Sample:
    """What was known at one moment.

    Attributes:
        at: as of its snapshot.
        counts: of the store; None when it could not be read.
        took: seconds that looking took.
    """

    at: float
    counts: Counts | None
    took: float
    figures: Figures


@dataclass(frozen=True, slots=True)
class Bin:
    """A stretch of time.

    Attributes:
        figures: what has come to them in it.
        last: its last sample.
    """

    end: float
    figures: Figures | None
    last: Sample | None


class Sampler:
    """Takes the samples.

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
        """Take one."""
        began = time.monotonic()
        found = await self._take_snapshot()
        took = time.monotonic() - began
        sample = Sample(found.at, found.counts, took, Figures.of(found))
        self.samples.append(sample)
        return sample

    def recent(self, seconds: float) -> Figures | None:
        """Return what has come to the figures in the last seconds; None when that is not known."""
        if not self.samples:
            return None
        first = self._before(steady() - seconds) or self.samples[0]
        return self.samples[-1].figures.since(first.figures)

    def bins(self) -> list[Bin]:
        """Return the time that is kept, in equal parts, the oldest first."""
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
        """Return the last sample up to a moment."""
        place = bisect_right(self.samples, moment, key=lambda sample: sample.at)
        return self.samples[place - 1] if place else None
