"""What the processes that share a spool agree on, whatever the wall clock is set to."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from offhook.arrivals import mark as marks
from offhook.arrivals.mark import Mark, SharedClock

HOUR, DECADE = 3600, 10 * 365 * 86_400
NS = 10**9


def opened(path: Path) -> SharedClock:
    clock = SharedClock(path)
    clock.open()
    return clock


def now_of(clock: SharedClock) -> float:
    return clock.now() / NS


@pytest.fixture
def set_clock(monkeypatch: pytest.MonkeyPatch) -> Callable[[int], None]:
    """Return what sets the wall clock so many seconds off."""
    now_ns = time.time_ns

    def set_clock(seconds: int) -> None:
        monkeypatch.setattr(time, "time_ns", lambda: now_ns() + seconds * NS)

    return set_clock


@pytest.mark.parametrize("seconds", [-HOUR, DECADE], ids=["back", "ahead"])
def test_the_time_goes_on_evenly_whatever_the_wall_clock_is_set_to(
    tmp_path: Path, set_clock: Callable[[int], None], seconds: int
) -> None:
    first = opened(tmp_path / "clock")
    assert now_of(first) == pytest.approx(time.time(), abs=60)
    set_clock(seconds)
    before = first.now()
    assert before <= opened(tmp_path / "clock").now() <= first.now(), "all agree"
    assert now_of(first) == pytest.approx(time.time(), abs=60)


def test_it_is_measured_anew_when_the_machine_has_been_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = opened(tmp_path / "clock")
    monkeypatch.setattr(marks, "boot", lambda: "another")
    monkeypatch.setattr(marks, "elapsed_ns", lambda: 5 * NS)
    assert now_of(opened(tmp_path / "clock")) == pytest.approx(time.time(), abs=60)
    assert now_of(first) < now_of(opened(tmp_path / "clock"))


@pytest.mark.parametrize("left", ["", "boot", "boot -5", "\0" * 40])
def test_a_file_that_is_not_whole_is_written_anew(tmp_path: Path, left: str) -> None:
    (tmp_path / "clock").write_text(left)
    assert now_of(opened(tmp_path / "clock")) == pytest.approx(time.time(), abs=60)
    assert opened(tmp_path / "clock").now() > 0


def test_a_change_of_the_mark_is_seen_by_all(tmp_path: Path) -> None:
    one, other = Mark(tmp_path / "mark"), Mark(tmp_path / "mark")
    one.open()
    other.open()
    seen = {other.read()}
    for _ in range(10):
        one.change()
        assert one.read() == other.read()
        seen.add(other.read())
    assert len(seen) == 11
    one.close()
    other.close()
