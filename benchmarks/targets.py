"""The design's targets beside what was measured: `python -m benchmarks.targets`.

Reads the files in benchmarks/results/ that the other scripts write, and prints for each target what
was aimed at, what was measured, and whether it was met. What is compared is taken from compare-all
if there is one, as the documentation's table is; else from compare. Exits with status 1 if one was
not met; one that was not measured names the command which does.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

from benchmarks.results import comparison, read

_COMPARE: Final = "make bench"
_BLOCKED: Final = "python -m benchmarks.blocked_handler"
_CACHE: Final = "python -m benchmarks.cache"
_LIMITS: Final = "python -m benchmarks.limits"

Results = dict[str, Any]
"""What the files hold, by their name."""


@dataclass(frozen=True, slots=True)
class Target:
    """What is aimed at.

    Attributes:
        text: in words, with the bound.
        bound: the figure to reach.
        at_least: whether more is better.
        unit: of the figure.
        figure: finds it; raises KeyError or TypeError if it was not measured.
        command: measures it.
    """

    text: str
    bound: float
    at_least: bool
    unit: str
    figure: Callable[[Results], float]
    command: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A target and what was measured, if it was."""

    target: Target
    measured: float | None

    @property
    def is_met(self) -> bool | None:
        """Whether it was reached; None if nobody knows."""
        if self.measured is None:
            return None
        if self.target.at_least:
            return self.measured >= self.target.bound
        return self.measured <= self.target.bound


def _ratio(over: str, under: str) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        pairs = zip(_peer(results, over)["maxima"], _peer(results, under)["maxima"], strict=True)
        ratios = sorted(a / b for a, b in pairs)
        return float(ratios[len(ratios) // 2])

    return figure


def _peer(results: Results, name: str) -> Any:
    compared = comparison(results)
    return compared and compared["peers"][name]


def _half(name: str) -> Callable[[Results], float]:
    return lambda results: float(_peer(results, "sqlite")["half"][name]) * 1000


def _of(file: str, *path: str, scale: float = 1.0) -> Callable[[Results], float]:
    def figure(results: Results) -> float:
        found: Any = results[file]
        for part in path:
            found = found[part]
        return float(found) * scale

    return figure


TARGETS: Final = (
    Target("acknowledges, to an empty app on the same uvicorn", 0.5, True, "x",
           _ratio("sqlite", "empty"), _COMPARE),
    Target("acknowledges, to FastAPI with BackgroundTasks", 4, True, "x",
           _ratio("sqlite", "background-tasks"), _COMPARE),
    Target("acknowledges, to FastAPI with one INSERT each", 6, True, "x",
           _ratio("sqlite", "insert"), _COMPARE),
    Target("acknowledge at half of that load, p50", 2, False, "ms", _half("p50"), _COMPARE),
    Target("acknowledge at half of that load, p99", 10, False, "ms", _half("p99"), _COMPARE),
    Target("handled a second by one worker, SQLite", 4000, True, "/s",
           lambda results: float(_peer(results, "sqlite")["end_to_end"]), _COMPARE),
    Target("lost when all was killed in mid-load, SQLite", 0, False, "",
           lambda results: float(_peer(results, "sqlite")["killed"]["missing"]), _COMPARE),
    Target("lost when all was killed in mid-load, PostgreSQL", 0, False, "",
           lambda results: float(_peer(results, "postgres")["killed"]["missing"]), _COMPARE),
    Target("p99 while every handler waits a minute", 1.5, False, "x",
           _of("blocked_handler", "waiting"), _BLOCKED),
    Target("p99 while every handler blocks its process", 1.5, False, "x",
           _of("blocked_handler", "blocking"), _BLOCKED),
    Target("p99 while every handler burns the processor", 1.5, False, "x",
           _of("blocked_handler", "burning"), _BLOCKED),
    Target("p99 while Redis is dead", 1.5, False, "x", _of("cache", "dead p99"), _CACHE),
    Target("a repeat from the memory cache, to a fresh request", 0.2, False, "x",
           _of("cache", "memory"), _CACHE),
    Target("a repeat from Redis, to a fresh request", 1.0, False, "x",
           _of("cache", "redis"), _CACHE),
    Target("a fresh request with Redis configured", 1.1, False, "x",
           _of("cache", "seldom"), _CACHE),
    Target("a refused signature, p99", 5, False, "ms",
           _of("limits", "refused_p99", scale=1000), _LIMITS),
    Target("p99 while 1,000,000 messages wait", 1.5, False, "x",
           _of("limits", "backlog_ratio"), _LIMITS),
    Target("handled a second with a reply each, SQLite", 2500, True, "/s",
           _of("limits", "replies"), _LIMITS),
    Target("idle worker to the start of a handler, p50", 5, False, "ms",
           _of("limits", "wake_p50", scale=1000), _LIMITS),
    Target("idle: CPU of ingress and worker", 1, False, "%",
           _of("limits", "idle_cpu", scale=100), _LIMITS),
    Target("idle: memory of ingress and worker", 100, False, "MB",
           _of("limits", "idle_memory", scale=2**-20), _LIMITS),
    Target("start of `offhook dev` to its first answer", 2, False, "s",
           _of("limits", "start"), _LIMITS),
)  # fmt: skip


def judge(results: Results) -> Iterator[Judged]:
    """Yield each target with what was measured."""
    for target in TARGETS:
        try:
            measured = target.figure(results)
        except (KeyError, TypeError):
            measured = None
        yield Judged(target, measured)


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--partial", action="store_true", help="only what --quick and the like have measured"
    )
    given = parser.parse_args()
    results = read(".partial") if given.partial else {**read(".noisy"), **read()}
    judged = list(judge(results))
    print(f"{'':54} {'target':>10} {'measured':>12}")
    for one in judged:
        print(line(one))
    noisy = [name for name, found in results.items() if not found["machine"]["quiet"]]
    if noisy:
        print(f"The machine was not quiet, these mean little: {', '.join(noisy)}")
    sys.exit(any(one.is_met is False for one in judged))


def line(judged: Judged) -> str:
    """Return a line of the table."""
    target = judged.target
    bound = f"{'≥' if target.at_least else '≤'} {target.bound:g} {target.unit}".rstrip()
    match judged.is_met:
        case None:
            return f"{target.text:54} {bound:>10} {'':>12}   not measured: {target.command}"
        case met:
            measured = f"{judged.measured:,.2f} {target.unit}".rstrip()
            return f"{target.text:54} {bound:>10} {measured:>12}   {'met' if met else 'NOT MET'}"


if __name__ == "__main__":
    main()
