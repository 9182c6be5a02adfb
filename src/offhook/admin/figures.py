"""Counters of a machine's processes, and their increase between two snapshots."""

import json
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Final, Self

from offhook.core.lifecycle import Trigger
from offhook.observe.metrics import ACTIVE_PROBLEMS, RUNS, SORTED, WEBHOOKS, Metric
from offhook.observe.metrics import PHASES as TIMES
from offhook.observe.system import Snapshot

PHASES: Final = ("validate", "enqueue", "total")

_BOUNDS: Final = TIMES.buckets
_FAILED: Final = 500  # the first HTTP status that is our failure


@dataclass(frozen=True, slots=True)
class Histogram:
    """A histogram of durations.

    Attributes:
        counts: per bucket of the metric; the last is of longer ones.
    """

    counts: tuple[float, ...] = (0.0,) * (len(_BOUNDS) + 1)

    @property
    def total(self) -> float:
        """The number of observations."""
        return sum(self.counts)

    def since(self, before: Self) -> "Histogram":
        """Return the increase since an earlier histogram."""
        pairs = zip(self.counts, before.counts, strict=True)
        return Histogram(tuple(max(0.0, now - then) for now, then in pairs))

    def quantile(self, share: float) -> float | None:
        """Return a quantile in seconds, interpolated within its bucket."""
        if not self.total:
            return None
        wanted = share * self.total
        heights = list(accumulate(self.counts))
        place = min(bisect_left(heights, wanted), len(_BOUNDS))
        if place == len(_BOUNDS):
            return _BOUNDS[-1]
        low = _BOUNDS[place - 1] if place else 0.0
        within = (wanted - heights[place] + self.counts[place]) / self.counts[place]
        return low + within * (_BOUNDS[place] - low)


@dataclass(frozen=True, slots=True)
class Figures:
    """Monotonic counters and the state of the processes.

    Attributes:
        phases: of accepted webhooks, by the names in `PHASES`; `total` is the response time.
        counters: `accepted`, `refused`, `failed`, `repeated`, `cached`, `retried`, `died`.
        processes: the number of running ones, by role.
        problems: topics of unresolved problems.
    """

    phases: Mapping[str, Histogram]
    counters: Mapping[str, float]
    processes: Mapping[str, int] = field(default_factory=dict)
    problems: frozenset[str] = frozenset()

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """Return the figures of a snapshot."""
        phases = dict.fromkeys(PHASES, Histogram())
        for (phase, outcome), numbers in _rows(snapshot, TIMES):
            if phase in phases and outcome == "accepted":
                phases[phase] = Histogram(numbers[:-1])
        return cls(
            phases,
            _counters(snapshot),
            Counter(process.role for process in snapshot.processes),
            frozenset(topic for (topic,), (number,) in _rows(snapshot, ACTIVE_PROBLEMS) if number),
        )

    def since(self, before: Self) -> "Figures":
        """Return the increase since earlier figures."""
        return Figures(
            {name: self.phases[name].since(before.phases[name]) for name in PHASES},
            {name: max(0.0, n - before.counters.get(name, 0)) for name, n in self.counters.items()},
            self.processes,
            self.problems,
        )


def _counters(snapshot: Snapshot) -> Mapping[str, float]:
    counters: Counter[str] = Counter()
    for (_, code, result, _, cached), (number,) in _rows(snapshot, WEBHOOKS):
        if result == "refused":
            counters["failed" if int(code) >= _FAILED else "refused"] += int(number)
            continue
        counters["accepted"] += int(number)
        counters["repeated"] += int(number) if result == "repeated" else 0
        counters["cached"] += int(number) if cached else 0
    for (result,), (number,) in _rows(snapshot, SORTED):
        counters["repeated"] += int(number) if result == "repeated" else 0
    for (_, trigger), (number,) in _rows(snapshot, RUNS):
        if trigger == Trigger.RETRY:
            counters["retried"] += int(number)
        elif trigger == Trigger.GIVE_UP:
            counters["died"] += int(number)
    return counters


def _rows(
    snapshot: Snapshot, metric: Metric
) -> Iterator[tuple[tuple[str, ...], tuple[float, ...]]]:
    """Yield the labels and numbers of a metric; see `observe.prometheus`."""
    for key, numbers in snapshot.rows.items():
        if key.startswith("["):
            name, *labels = json.loads(key)
            if name == metric.name:
                yield tuple(labels), numbers
