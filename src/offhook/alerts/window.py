"""What has happened between two looks at a machine."""

import json
from collections.abc import Iterator
from dataclasses import dataclass

from offhook.observe.metrics import Metric
from offhook.observe.system import Snapshot


@dataclass(frozen=True, slots=True)
class Window:
    """Two looks, the later one being of now.

    Attributes:
        before: the earlier one; the same as `now` at the first look.
    """

    before: Snapshot
    now: Snapshot

    def increase(self, metric: Metric, **labels: str) -> tuple[float, ...]:
        """Return by how much a metric's numbers have grown, over all rows that fit the labels."""
        total = [0.0] * metric.width
        for key, numbers in _rows(self.now, metric, labels):
            earlier = self.before.rows.get(key, (0.0,) * metric.width)
            total = [t + new - old for t, new, old in zip(total, numbers, earlier, strict=True)]
        return tuple(total)

    def count(self, metric: Metric, **labels: str) -> float:
        """Return by how much a counter has grown."""
        return self.increase(metric, **labels)[0]

    def level(self, metric: Metric, **labels: str) -> float:
        """Return what a gauge says now."""
        return sum(numbers[0] for _, numbers in _rows(self.now, metric, labels))

    def quantile(self, share: float, metric: Metric, **labels: str) -> float | None:
        """Return what a share of the observations has not exceeded; None without observations.

        Within a bucket they are taken to be spread evenly. What lies beyond the last bucket counts
        as its bound.
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
