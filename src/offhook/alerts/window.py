"""Differences between two snapshots of a machine."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from offhook.observe.metrics import Metric
from offhook.observe.system import Snapshot


@dataclass(frozen=True, slots=True)
class Window:
    """Two snapshots.

    Attributes:
        before: the earlier one; the same as `now` for the first snapshot.
    """

    before: Snapshot
    now: Snapshot

    def increase(self, metric: Metric, **labels: str) -> tuple[float, ...]:
        """Return the increase of a metric's numbers, summed over the rows that match the labels."""
        total = [0.0] * metric.width
        for key, numbers in _rows(self.now, metric, labels):
            earlier = self.before.rows.get(key, (0.0,) * metric.width)
            total = [t + new - old for t, new, old in zip(total, numbers, earlier, strict=True)]
        return tuple(total)

    def count(self, metric: Metric, **labels: str) -> float:
        """Return the increase of a counter."""
        return self.increase(metric, **labels)[0]

    def level(self, metric: Metric, **labels: str) -> float:
        """Return the current value of a gauge."""
        return sum(numbers[0] for _, numbers in _rows(self.now, metric, labels))

    def quantile(self, share: float, metric: Metric, **labels: str) -> float | None:
        """Return a quantile of the observations; None without observations.

        Interpolates linearly within a bucket; beyond the last bucket, returns its bound.
        """
        *counts, _ = self.increase(metric, **labels)
        wanted = sum(counts) * share
        if not wanted:
            return None
        lower, so_far = 0.0, 0.0
        for bound, count in zip(metric.buckets, counts, strict=False):
            if so_far + count >= wanted:
                return lower + (bound - lower) * (wanted - so_far) / count
            lower, so_far = bound, so_far + count
        return lower


def _rows(
    snapshot: Snapshot, metric: Metric, labels: dict[str, str]
) -> Iterator[tuple[str, tuple[float, ...]]]:
    for key, numbers in snapshot.rows.items():
        if key.startswith(f'["{metric.name}"'):
            _, *values = json.loads(key)
            given = dict(zip(metric.labels, values, strict=True))
            if labels.items() <= given.items():
                yield key, numbers
