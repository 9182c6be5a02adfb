"""What people read: the live line, the bars, the warnings."""

import asyncio

import pytest
from rich.console import Console

from offhook.bench.requests import RequestKind, SignedRequest
from offhook.bench.results import Histogram, Results
from offhook.bench.run import BenchOptions, BenchRun, Phase
from offhook.bench.target import Target
from offhook.cli.bench_view import histogram, live, show

REQUEST = SignedRequest(b"", RequestKind.FRESH, "SM1")


def run(*answers: tuple[int, float], ceiling: float | None = None) -> BenchRun:
    made = BenchRun(BenchOptions(Target.parse("http://127.0.0.1"), "AC", "token"), asyncio.Event())
    results = Results()
    results.begin()
    for status, seconds in answers:
        results.answer(REQUEST, status, seconds)
    results.end()
    made.ceiling = ceiling
    made.phases.append(Phase("open loop", 10, 500.0, results))
    made.activity = "open loop, 500/s"
    return made


def shown(one: BenchRun) -> str:
    screen = Console(width=200)
    with screen.capture() as captured:
        show(screen, one)
    return captured.get()


def test_the_line_tells_how_far_it_is_and_what_goes_wrong() -> None:
    line = live(run((200, 0.001), (503, 0.002)))
    assert line.startswith("open loop, 500/s, 0 of 10 s: 2 answers")
    assert "1 not as expected" in line


def test_each_bar_is_as_long_as_its_share() -> None:
    times = Histogram()
    for seconds in [0.0015] * 3 + [0.004]:
        times.record(seconds)
    lines = list(histogram(times))
    assert [line.split()[1] for line in lines] == ["2", "5"]
    assert [line.count("█") for line in lines] == [40, 13]


@pytest.mark.parametrize(("ceiling", "warned"), [(1e9, False), (1.0, True), (None, False)])
def test_a_figure_near_the_generators_ceiling_is_marked(
    ceiling: float | None, warned: bool
) -> None:
    assert ("over 70 %" in shown(run((200, 0.001), ceiling=ceiling))) == warned


def test_nothing_answered_is_shown_as_such() -> None:
    text = shown(run())
    assert "answers   none" in text
    assert "not as expected" in text
