"""What a machine's processes are, and what is measured of them, while its clock is set."""

import os
import time
from types import ModuleType

import psutil
import pytest

from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.shared_counters import SharedCounters
from offhook.observe.system import SystemMonitor, running_processes
from offhook.stores.api import Counts

HOURS = pytest.mark.parametrize("seconds", [-3600, 3600], ids=["back", "ahead"])


def platform() -> ModuleType:
    found: ModuleType = psutil._psplatform  # type: ignore[attr-defined]
    return found


@HOURS
def test_a_process_is_known_whatever_the_clock_was_set_to_meanwhile(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    counters = SharedCounters.alone()
    PrometheusObserver(counters)
    boot_time = platform().boot_time
    monkeypatch.setattr(platform(), "boot_time", lambda: boot_time() + seconds)
    assert [process.pid for process in running_processes({"worker-1": counters.memory})] == [
        os.getpid()
    ]


@HOURS
async def test_the_last_minute_is_a_minute_whatever_the_clock_was_set_to(
    monkeypatch: pytest.MonkeyPatch, seconds: int
) -> None:
    async def away() -> Counts:
        raise TimeoutError

    look = SystemMonitor({}, away).snapshot
    before = await look()
    now = time.time
    monkeypatch.setattr(time, "time", lambda: now() + seconds)
    assert (await look()).at - before.at == pytest.approx(0, abs=60)
