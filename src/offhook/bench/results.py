"""Counts of the responses to a load, and their latencies."""

from collections import Counter
from collections.abc import Iterator
from time import perf_counter
from typing import Any, Final, Self

from offhook.bench.requests import RequestKind, SignedRequest

_BITS: Final = 7  # a bucket is 1/128 of its value wide

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
        """Count a duration; a negative one, of a clock that was set back, as 0."""
        value = int(seconds * _MICRO) if seconds > 0 else 0
        shift = value.bit_length() - _BITS - 1
        bucket = value if shift <= 0 else (shift << _BITS) + (value >> shift)
        self._counts[bucket] = self._counts.get(bucket, 0) + 1
        self.count += 1
        self.total += seconds
        if seconds > self.maximum:  # noqa: PLR1730 - max() takes as long as all the rest
            self.maximum = seconds

    def add(self, other: Self) -> None:
        """Add the counts of another histogram."""
        for bucket, count in other._counts.items():
            self._counts[bucket] = self._counts.get(bucket, 0) + count
        self.count += other.count
        self.total += other.total
        self.maximum = max(self.maximum, other.maximum)

    def percentile(self, percent: float) -> float:
        """Return a percentile in seconds; 0.0 when nothing was counted."""
        wanted = max(1.0, self.count * percent / 100)
        for end, seen in self.cumulated():
            if seen >= wanted:
                return end
        return self.maximum

    def cumulated(self) -> Iterator[tuple[float, int]]:
        """Yield the upper bound of each non-empty bucket, in seconds, and its cumulative count."""
        seen = 0
        for bucket in sorted(self._counts):
            seen += self._counts[bucket]
            yield min(_end(bucket), self.maximum), seen

    def at_most(self, seconds: float) -> int:
        """Return how many durations were at most this long, to the precision of a bucket."""
        return max((seen for end, seen in self.cumulated() if end <= seconds), default=0)


def _end(bucket: int) -> float:
    shift = max(0, (bucket >> _BITS) - 1)
    return (((bucket - (shift << _BITS)) + 1) << shift) / _MICRO


_SUCCESS: Final = range(200, 300)
_REFUSAL: Final = range(400, 500)
PERCENTILES: Final = (50.0, 90.0, 99.0, 99.9, 99.99)


class Results:
    """Counts of the responses to a load.

    Args:
        keep: keep the SIDs of acknowledged messages, to look for them later.

    Attributes:
        times: latencies by kind, from when a request was due to the end of its response.
        late: how late the generator sent its requests.
        errors: the number of requests without a response, by reason.
        unexpected: the number of genuine requests that were refused, and of forged ones that were
            not.
        acknowledged: SIDs, if kept.
    """

    def __init__(self, *, keep: bool = False) -> None:
        self.times: dict[RequestKind, Histogram] = {}
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

    def answer(self, request: SignedRequest, status: int, seconds: float) -> None:
        """Count a response."""
        self._record(request.kind, seconds)
        self.statuses[status] += 1
        success = status in _SUCCESS
        if request.kind is RequestKind.FORGED:
            self.unexpected += status not in _REFUSAL
        elif not success:
            self.unexpected += 1
        if success and self.acknowledged is not None:
            self.acknowledged.append(request.sid)

    def fail(self, reason: str) -> None:
        """Count a request whose connection failed."""
        self.errors[reason] += 1

    def abandon(self, request: SignedRequest, seconds: float) -> None:
        """Count a request that got no response within `seconds`."""
        self._record(request.kind, seconds)
        self.errors["no answer"] += 1

    def _record(self, kind: RequestKind, seconds: float) -> None:
        if kind not in self.times:
            self.times[kind] = Histogram()
        self.times[kind].record(seconds)

    @property
    def seconds(self) -> float:
        """Seconds from `begin` to `end`."""
        return self._ended - self._began

    @property
    def elapsed(self) -> float:
        """Seconds since `begin`."""
        return perf_counter() - self._began

    @property
    def answers(self) -> int:
        """The number of responses."""
        return self.statuses.total()

    @property
    def rate(self) -> float:
        """Responses a second."""
        return self.answers / self.seconds if self.seconds > 0 else 0.0

    @property
    def good(self) -> bool:
        """Whether every request got the expected response."""
        return bool(self.answers) and not self.unexpected and not self.errors

    def all_times(self) -> Histogram:
        """Return the latencies of all kinds together."""
        found = Histogram()
        for one in self.times.values():
            found.add(one)
        return found

    def percentile(self, percent: float) -> float:
        """Return a percentile of all latencies, in seconds."""
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
