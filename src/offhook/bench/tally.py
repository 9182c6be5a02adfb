"""What came back."""

from collections import Counter
from time import perf_counter
from typing import Any, Final

from offhook.bench.histogram import Histogram
from offhook.bench.shots import Kind, Shot

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
