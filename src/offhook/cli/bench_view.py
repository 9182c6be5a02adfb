"""What `offhook bench` prints for people."""

from collections.abc import Iterator
from typing import Final

from rich.console import Console

from offhook.bench.requests import Kind
from offhook.bench.results import Histogram
from offhook.bench.run import Course, Phase, Plan
from offhook.terminal import milliseconds

_SHOWN: Final = (50.0, 90.0, 99.0, 99.9)
_WIDTH: Final = 40  # characters of the longest bar
_STEPS: Final = (1, 2, 5)


def announce(screen: Console, plan: Plan) -> None:
    """Print what is about to be loaded."""
    kept = "a new one each time" if plan.fresh else "kept alive"
    screen.print(f"{plan.target.url}, {plan.connections} connections, {kept}", soft_wrap=True)


def show(screen: Console, course: Course) -> None:
    """Print all that was measured."""
    if course.ceiling is not None:
        screen.print(f"the generator's own ceiling here: {course.ceiling:,.0f}/s", style="dim")
    for phase in course.phases:
        _show_phase(screen, course, phase)
    if course.interrupted:
        screen.print("\ninterrupted: this is what was measured so far", style="yellow")


def live(course: Course) -> str:
    """Return what is under way, on one line."""
    if not course.phases or not course.doing.endswith(("/s", "loop")):
        return course.doing
    phase = course.phases[-1]
    times = phase.tally.all_times()
    bad = phase.tally.unexpected + phase.tally.errors.total()
    troubles = f", {bad:,} not as they should be" if bad else ""
    return (
        f"{course.doing}, {phase.tally.elapsed:.0f} of {phase.seconds:g} s: "
        f"{times.count:,} answers, p50 {milliseconds(times.percentile(50))}, "
        f"p99 {milliseconds(times.percentile(99))}"
        f"{troubles}"
    )


def _show_phase(screen: Console, course: Course, phase: Phase) -> None:
    tally = phase.tally
    offered = "" if phase.offered is None else f" of {phase.offered:,.0f}/s that were due"
    screen.print(f"\n[bold]{phase.name}[/], {tally.seconds:.1f} s: {tally.rate:,.0f}/s{offered}")
    if course.is_near_ceiling(phase):
        screen.print(
            "  over 70 % of the generator's ceiling: the server may be faster; "
            "measure with `wrk`, or from another machine",
            style="yellow",
        )
    answers = ", ".join(f"{status}: {n:,}" for status, n in sorted(tally.statuses.items()))
    screen.print(f"  answers   {answers or 'none'}")
    if not tally.good:
        errors = "".join(f", {reason}: {n:,}" for reason, n in tally.errors.items())
        screen.print(f"  not as they should be: {tally.unexpected:,}{errors}", style="red")
    screen.print(f"  latency   {_percentiles(tally.all_times())}")
    if len(tally.times) > 1:
        for kind in Kind:
            if kind in tally.times:
                screen.print(f"  {kind:<9} {_percentiles(tally.times[kind])}")
    if phase.offered is not None:
        screen.print(f"  the generator was late by {milliseconds(tally.late.percentile(99))} (p99)")
    for line in histogram(tally.all_times()):
        screen.print(f"  {line}", style="cyan")


def _percentiles(times: Histogram) -> str:
    named = [f"p{p:g} {milliseconds(times.percentile(p))}" for p in _SHOWN]
    return "   ".join([*named, f"longest {milliseconds(times.maximum)}"])


def histogram(times: Histogram) -> Iterator[str]:
    """Yield a line for each step of 1, 2, 5, 10 ms and so on, the bar as long as its share."""
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
