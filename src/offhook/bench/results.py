"""What came back."""

from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Final, Self

from offhook.bench.requests import Kind, Shot

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


_SUCCESS: Final = range(200, 300)
_REFUSAL: Final = range(400, 500)
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99)


class Tally:
    """The answers to a load, counted.

    Args:
        keep: keep the SIDs of what was acknowledged, to look for them later.

    Attributes:
        times: how long each kind took, from the moment it was due to the end of its answer.
        late: how late the generator itself was.
        errors: what happened instead of an answer, and how often.
        unexpected: answers that were neither an acknowledge of what is genuine nor the refusal of
            what is forged.
        acknowledged: SIDs, if kept.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.times: dict[Kind, Histogram] = {}
        self.late = Histogram()
        self.statuses: Counter[int] = Counter()
        self.errors: Counter[str] = Counter()
        self.unexpected = 0
        self.acknowledged: list[str] | None = [] if keep else None
        self._began = self._ended = perf_counter()

    def begin(self) -> None:
        """Start the clock."""
        self._began = self._ended = perf_counter()

    def end(self) -> None:
        """Stop the clock."""
        self._ended = perf_counter()

    def answer(self, shot: Shot, status: int, seconds: float) -> None:
        """Count an answer."""
        self._record(shot.kind, seconds)
        self.statuses[status] += 1
        success = status in _SUCCESS
        if shot.kind is Kind.FORGED:
            self.unexpected += status not in _REFUSAL
        elif not success:
            self.unexpected += 1
        if success and self.acknowledged is not None:
            self.acknowledged.append(shot.sid)

    def fail(self, reason: str) -> None:
        """Count a request that got no answer, because of its connection."""
        self.errors[reason] += 1

    def abandon(self, shot: Shot, seconds: float) -> None:
        """Count a request that was waited for in vain: it took that long, at least."""
        self._record(shot.kind, seconds)
        self.errors["no answer"] += 1

    def _record(self, kind: Kind, seconds: float) -> None:
        if kind not in self.times:
            self.times[kind] = Histogram()
        self.times[kind].record(seconds)

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self._ended - self._began

    @property
    def elapsed(self) -> float:
        """How long it has taken so far, while the clock runs."""
        return perf_counter() - self._began

    @property
    def answers(self) -> int:
        """How many came."""
        return self.statuses.total()

    @property
    def rate(self) -> float:
        """Answers a second."""
        return self.answers / self.seconds if self.seconds > 0 else 0.0

    @property
    def good(self) -> bool:
        """Whether each was answered as it should be."""
        return bool(self.answers) and not self.unexpected and not self.errors

    def all_times(self) -> Histogram:
        """Return how long they took, whatever their kind."""
        found = Histogram()
        for one in self.times.values():
            found.add(one)
        return found

    def percentile(self, percent: float) -> float:
        """Return how many seconds so many percent of all took at most."""
        return self.all_times().percentile(percent)

    def as_object(self) -> dict[str, Any]:
        """Return the figures for scripts; times in seconds."""
        return {
            "seconds": round(self.seconds, 3),
            "answers": self.answers,
            "rate": round(self.rate, 1),
            "statuses": {str(status): n for status, n in sorted(self.statuses.items())},
            "errors": dict(self.errors),
            "unexpected": self.unexpected,
            "latency": figures(self.all_times()),
            "kinds": {kind.value: figures(times) for kind, times in sorted(self.times.items())},
            "generator_late_p99": round(self.late.percentile(99), 6),
        }


def figures(times: Histogram) -> dict[str, float]:
    """Return a histogram's percentiles by name, in seconds."""
    named = {f"p{percent:g}": round(times.percentile(percent), 6) for percent in PERCENTILES}
    return {"count": times.count, **named, "max": round(times.maximum, 6)}
