"""A generator on the server's own machine waits without using up a core of it."""

import asyncio
import sys
from time import perf_counter, process_time

import pytest

from offhook.bench.alarm import Alarm


def test_an_alarm_never_rings_early() -> None:
    async def main() -> None:
        alarm = Alarm()
        for number in range(50):
            moment = perf_counter() + number * 0.0001 - 0.001  # some have passed
            await alarm.at(moment)
            assert perf_counter() >= moment
        alarm.close()

    asyncio.run(main())


def test_other_tasks_go_on_meanwhile() -> None:
    async def main() -> None:
        alarm = Alarm()
        waiting = asyncio.create_task(alarm.at(perf_counter() + 3600))
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert not waiting.done()
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)
        await alarm.at(perf_counter() + 0.001)  # set anew after what was given up
        alarm.close()

    asyncio.run(main())


@pytest.mark.skipif(sys.platform != "linux", reason="no timerfd: the last 2 ms are spun")
def test_waiting_takes_no_cpu_time() -> None:
    async def main() -> float:
        alarm = Alarm()
        await alarm.at(perf_counter() + 0.001)
        before, began = process_time(), perf_counter()
        for number in range(300):
            await alarm.at(began + number * 0.001)
        used = process_time() - before
        alarm.close()
        return used

    assert asyncio.run(main()) < 0.15
