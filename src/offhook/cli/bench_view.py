"""Print the results of `offhook bench`."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console

from offhook.bench.requests import RequestKind
from offhook.bench.results import Histogram
from offhook.bench.run import BenchOptions, BenchRun, Phase
from offhook.terminal import milliseconds

_SHOWN: Final = (50.0, 90.0, 99.0, 99.9)
_WIDTH: Final = 40  # characters of the longest bar
_STEPS: Final = (1, 2, 5)


def announce(screen: Console, options: BenchOptions) -> None:
    """Print the server that will be loaded."""
    kept = "a new one each time" if options.fresh else "kept alive"
    screen.print(f"{options.target.url}, {options.connections} connections, {kept}", soft_wrap=True)


def show(screen: Console, run: BenchRun) -> None:
    """Print the results."""
    if run.ceiling is not None:
        screen.print(f"maximum of the load generator here: {run.ceiling:,.0f}/s", style="dim")
    for phase in run.phases:
        _show_phase(screen, run, phase)
    if run.interrupted:
        screen.print("\ninterrupted: these are the measurements so far", style="yellow")


def live(run: BenchRun) -> str:
    """Return the progress on one line."""
    if not run.phases or not run.activity.endswith(("/s", "loop")):
        return run.activity
    phase = run.phases[-1]
    times = phase.results.all_times()
    bad = phase.results.unexpected + phase.results.errors.total()
    troubles = f", {bad:,} not as expected" if bad else ""
    return (
        f"{run.activity}, {phase.results.elapsed:.0f} of {phase.seconds:g} s: "
        f"{times.count:,} answers, p50 {milliseconds(times.percentile(50))}, "
        f"p99 {milliseconds(times.percentile(99))}"
        f"{troubles}"
    )


def _show_phase(screen: Console, run: BenchRun, phase: Phase) -> None:
    results = phase.results
    offered = "" if phase.offered is None else f" of {phase.offered:,.0f}/s due"
    screen.print(
        f"\n[bold]{phase.name}[/], {results.seconds:.1f} s: {results.rate:,.0f}/s{offered}"
    )
    if run.is_near_ceiling(phase):
        screen.print(
            "  over 70 % of the load generator's maximum: the server may be faster; "
            "measure with `wrk`, or from another machine",
            style="yellow",
        )
    answers = ", ".join(f"{status}: {n:,}" for status, n in sorted(results.statuses.items()))
    screen.print(f"  answers   {answers or 'none'}")
    if not results.good:
        errors = "".join(f", {reason}: {n:,}" for reason, n in results.errors.items())
        screen.print(f"  not as expected: {results.unexpected:,}{errors}", style="red")
    screen.print(f"  latency   {_percentiles(results.all_times())}")
    if len(results.times) > 1:
        for kind in RequestKind:
            if kind in results.times:
                screen.print(f"  {kind:<9} {_percentiles(results.times[kind])}")
    if phase.offered is not None:
        screen.print(
            f"  the generator was late by {milliseconds(results.late.percentile(99))} (p99)"
        )
    for line in histogram(results.all_times()):
        screen.print(f"  {line}", style="cyan")


def _percentiles(times: Histogram) -> str:
    named = [f"p{p:g} {milliseconds(times.percentile(p))}" for p in _SHOWN]
    return "   ".join([*named, f"longest {milliseconds(times.maximum)}"])


def histogram(times: Histogram) -> Iterator[str]:
    """Yield a bar for each step of 1, 2, 5, 10 ms and so on, as long as its share."""
    rows: list[tuple[float, int]] = []
    before = 0
    for end in _ends():
        seen = times.at_most(end)
        if seen > before or rows:
            rows.append((end, seen - before))
        before = seen
        if seen == times.count:
            break
    most = max((count for _, count in rows), default=0) or 1
    for end, count in rows:
        bar = "█" * round(_WIDTH * count / most)
        yield f"≤ {end * 1000:>6g} ms  {count:>9,}  {count / times.count:6.1%}  {bar}"


def _ends() -> Iterator[float]:
    for exponent in range(-5, 3):
        for step in _STEPS:
            yield step * 10.0**exponent
