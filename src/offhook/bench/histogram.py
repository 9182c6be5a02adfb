"""How long things took: many of them, in little memory, each kept within one percent."""

from collections.abc import Iterator
from typing import Final, Self

_BITS: Final = 7  # a bucket is 1/128 of its value wide
_HALF: Final = 1 << _BITS
_MICRO: Final = 1e6


class Histogram:
    """Counts of durations in buckets whose width grows with the duration, as in HdrHistogram.

    Up to 256 µs a bucket is 1 µs wide, beyond that at most 1/128 of its value. Why not the
    package of that name: docs/decisions/0014-own-load-generator.md.
    """

    __slots__ = ("_counts", "count", "maximum", "total")

    def __init__(self) -> None:
        self._counts: dict[int, int] = {}
        self.count = 0
        self.total = 0.0
        self.maximum = 0.0

    def record(self, seconds: float) -> None:
        """Count one; a clock that went backwards counts as none at all."""
        value = int(seconds * _MICRO) if seconds > 0 else 0
        shift = value.bit_length() - _BITS - 1
        bucket = value if shift <= 0 else (shift << _BITS) + (value >> shift)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.maximum:  # noqa: PLR1730 - max() takes as long as all the rest
            self.maximum = seconds

    def add(self, other: Self) -> None:
        """Count all that another has counted."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    def percentile(self, percent: float) -> float:
        """Return how many seconds so many percent took at most; 0.0 when nothing was counted."""
        wanted = max(1.0, self.count * percent / 100)
        for end, seen in self.cumulated():
            if seen >= wanted:
                return end
        return self.maximum

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Yield the end of each bucket that has any, in seconds, and how many took no longer."""
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            yield min(_end(bucket), self.maximum), seen

    def at_most(self, seconds: float) -> int:
        """Return how many took no longer than this, to the precision of a bucket."""
        return max((seen for end, seen in self.cumulated() if end <= seconds), default=0)


def _end(bucket: int) -> float:
    shift = max(0, (bucket >> _BITS) - 1)
    return (((bucket - (shift << _BITS)) + 1) << shift) / _MICRO
