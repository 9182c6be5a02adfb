"""A deadline ends what takes too long, and nothing else; who cancels otherwise is heard."""

import asyncio
from typing import Any

import pytest

from offhook.concurrency import Deadline


async def test_what_takes_too_long_ends_in_a_timeout_error() -> None:
    deadline = Deadline(0.02)
    loop = asyncio.get_running_loop()
    started = loop.time()
    with pytest.raises(TimeoutError), deadline:
        await asyncio.Event().wait()
    assert loop.time() - started >= 0.02
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_what_is_done_in_time_is_left_alone_afterwards() -> None:
    deadline, loop = Deadline(0.01), asyncio.get_running_loop()
    with deadline:
        await asyncio.sleep(0)
    over = loop.time() + 0.03
    await asyncio.sleep(0.03)
    assert loop.time() >= over
    task = asyncio.current_task()
    assert task is not None
    assert task.cancelling() == 0


async def test_an_error_within_passes() -> None:
    with pytest.raises(ValueError, match="mine"), Deadline(5):
        raise ValueError("mine")


async def test_tasks_are_timed_from_where_each_began() -> None:
    deadline = Deadline(0.5)
    loop = asyncio.get_running_loop()

    async def wait() -> float:
        started = loop.time()
        try:
            with deadline:
                await asyncio.Event().wait()
        except TimeoutError:
            return loop.time() - started
        return 0.0

    async def quick() -> None:
        with deadline:
            await asyncio.sleep(0)

    tasks = []
    for _ in range(5):
        tasks.append(asyncio.create_task(wait()))
        await asyncio.gather(*(quick() for _ in range(20)))
        await asyncio.sleep(0.03)
    took = await asyncio.gather(*tasks)
    assert round(min(took), 6) >= 0.5  # the clock counts milliseconds, as a float
    assert max(took) < 60


class CountingLoop(asyncio.SelectorEventLoop):
    timers = 0

    def call_at(self, *args: Any, **kwargs: Any) -> asyncio.TimerHandle:  # type: ignore[override]
        self.timers += 1
        return super().call_at(*args, **kwargs)


def test_one_timer_does_for_all() -> None:
    async def main() -> None:
        deadline = Deadline(60)

        async def wait() -> None:
            with deadline:
                await asyncio.sleep(0)

        await asyncio.gather(*(wait() for _ in range(100)))
        await wait()

    loop = CountingLoop()
    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    assert loop.timers == 1


async def test_a_cancellation_from_outside_stays_one() -> None:
    entered = asyncio.Event()

    async def wait() -> None:
        with Deadline(60):
            entered.set()
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await entered.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_cancellation_from_outside_wins_over_the_deadline() -> None:
    loop = asyncio.get_running_loop()

    async def wait() -> None:
        with Deadline(0.02):
            # Cancelled by somebody else in the same pass of the loop as by the deadline.
            me = asyncio.current_task()
            assert me is not None
            loop.call_at(loop.time() + 0.02, me.cancel)
            loop.call_soon(busy)
            await asyncio.Event().wait()

    def busy() -> None:
        until = loop.time() + 0.03
        while loop.time() < until:
            pass

    task = asyncio.create_task(wait())
    with pytest.raises(asyncio.CancelledError):
        await task


def test_a_second_event_loop_has_its_own_timer() -> None:
    deadline = Deadline(0.5)

    async def in_time() -> None:
        with deadline:
            await asyncio.sleep(0)

    async def too_long() -> None:
        with deadline:
            await asyncio.Event().wait()

    asyncio.run(in_time())
    with pytest.raises(TimeoutError):
        asyncio.run(asyncio.wait_for(too_long(), 60))


async def test_it_is_for_tasks_only() -> None:
    refused: list[str] = []

    def callback() -> None:
        try:
            with Deadline(1):
                pass
        except RuntimeError as error:
            refused.append(str(error))

    asyncio.get_running_loop().call_soon(callback)
    await asyncio.sleep(0)
    assert refused == ["a deadline is for the code of a task"]


async def test_futures_that_take_too_long_are_cancelled_each_from_where_it_began() -> None:
    deadline, loop = Deadline(0.05), asyncio.get_running_loop()
    watched: list[tuple[float, asyncio.Future[None]]] = []
    for _ in range(3):
        future: asyncio.Future[None] = loop.create_future()
        deadline.watch(future)
        watched.append((loop.time(), future))
        await asyncio.sleep(0.02)
    for began, future in watched:
        await asyncio.wait({future})
        assert future.cancelled()
        assert loop.time() - began >= 0.045  # uvloop's clock stands still within a pass of the loop
        assert deadline.expired(future)


async def test_a_future_that_is_done_in_time_is_left_alone() -> None:
    deadline, loop = Deadline(0.02), asyncio.get_running_loop()
    done: asyncio.Future[int] = loop.create_future()
    deadline.watch(done)
    late: asyncio.Future[int] = loop.create_future()
    deadline.watch(late)
    done.set_result(1)
    assert not deadline.expired(done)
    await asyncio.wait({late})
    assert deadline.expired(late)
    assert await done == 1


async def test_a_task_that_is_watched_is_cancelled_from_outside() -> None:
    deadline = Deadline(0.5)
    task = asyncio.create_task(asyncio.Event().wait())
    deadline.watch(task)
    with deadline:  # another one, within
        await asyncio.sleep(0)
    await asyncio.wait({task})
    assert task.cancelled()
    assert deadline.expired(task)
