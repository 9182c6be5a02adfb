"""A generator on the server's own machine waits without using up a core of it."""

import asyncio
import sys
from time import perf_counter, process_time

import pytest

from offhook.bench.timer import Timer


async def test_an_alarm_never_rings_early() -> None:
    timer = Timer()
    for number in range(50):
        moment = perf_counter() + number * 0.0001 - 0.001  # some have passed
        await timer.at(moment)
        assert perf_counter() >= moment
    timer.close()


async def test_other_tasks_go_on_meanwhile() -> None:
    timer = Timer()
    waiting = asyncio.create_task(timer.at(perf_counter() + 3600))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert not waiting.done()
    waiting.cancel()
    await asyncio.gather(waiting, return_exceptions=True)
    await timer.at(perf_counter() + 0.001)  # set anew after what was given up
    timer.close()


@pytest.mark.skipif(sys.platform != "linux", reason="no timerfd: the last 2 ms are spun")
async def test_waiting_takes_no_cpu_time() -> None:
    timer = Timer()
    await timer.at(perf_counter() + 0.001)
    before, began = process_time(), perf_counter()
    for number in range(300):
        await timer.at(began + number * 0.001)
    used = process_time() - before
    timer.close()
    assert used < 0.15
