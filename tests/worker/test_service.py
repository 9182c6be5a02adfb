"""The worker: order, neighbours, leases, crashes and restarts."""

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offhook.core.lifecycle import State, Trigger
from offhook.errors import LeaseLost, NotRunning, RetryLater, StoreUnavailable
from offhook.events import Handled, Problem, Topic
from offhook.stores import open_store
from offhook.stores.api import Claim, Claimed, Settlement
from offhook.worker.heartbeat import Heartbeat, LoopMonitor
from offhook.worker.message import Message
from tests.worker.support import ANN, BOB, PATIENCE, Line, Told, crash, handled_by, opened, serving


def triggers(events: list[Handled]) -> list[Trigger]:
    return [event.trigger for event in events]


async def test_a_lane_is_handled_in_order_while_others_go_on(tmp_path: Path) -> None:
    """One message of a conversation at a time, through retries; no other conversation waits."""
    seen: list[str] = []

    stuck = asyncio.Event()

    async def answer(message: Message) -> None:
        seen.append(f"{message.body}/{message.attempt}")
        if message.body == "ann 0" and message.attempt == 1:
            await stuck.wait()
            raise RetryLater(0.05)

    async with opened(tmp_path, handled_by(answer)) as line, serving(line):
        for number in range(3):
            await line.receive(f"ann {number}", sender=ANN)
        for number in range(3):
            await line.receive(f"bob {number}", sender=BOB)
        await line.told.runs(3)
        assert seen[1:] == ["bob 0/1", "bob 1/1", "bob 2/1"]
        stuck.set()
        await line.told.runs(7)
        assert seen[4:] == ["ann 0/2", "ann 1/1", "ann 2/1"]


async def test_with_on_retry_skip_later_messages_overtake(tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(message: Message) -> None:
        seen.append(message.body)
        if message.attempt == 1 and message.body == "first":
            raise RetryLater(3600)

    handlers = handled_by(answer, on_retry="skip")
    async with opened(tmp_path, handlers) as line:
        sid = await line.receive("first")
        await line.receive("second")
        async with serving(line):
            await line.told.runs(2)
            assert await line.store.replay((await line.record(sid)).id)  # now is later
            await line.told.runs(3)
    assert seen == ["first", "second", "first"]


async def test_no_more_run_at_once_than_allowed(tmp_path: Path) -> None:
    running, most = 0, 0
    together = threading.Barrier(3, timeout=PATIENCE)

    def answer() -> None:
        nonlocal running, most
        running += 1
        most = max(most, running)
        together.wait()
        running -= 1
        together.wait()

    async with opened(tmp_path, handled_by(answer), concurrency=3) as line:
        for number in range(9):
            await line.receive("hello", sender=f"+1555{number}")
        async with serving(line):
            assert triggers(await line.told.runs(9)) == [Trigger.COMPLETE] * 9
    assert most == 3


async def test_a_drain_lets_handlers_end(tmp_path: Path) -> None:
    started, finish = asyncio.Event(), asyncio.Event()

    async def answer() -> str:
        started.set()
        await finish.wait()
        return "done"

    async with opened(tmp_path, handled_by(answer)) as line:
        sid, behind = await line.receive("hello"), await line.receive("behind")
        working = asyncio.create_task(line.worker.run())
        await started.wait()
        line.worker.stop(20.0)
        finish.set()
        await working
        assert await line.state(sid) is State.DONE
        assert await line.state(behind) is State.OPEN  # nothing new was begun


@pytest.mark.parametrize("kind", ["coroutine", "thread"])
async def test_a_drain_ends_at_its_deadline_and_nothing_is_lost(tmp_path: Path, kind: str) -> None:
    """What is interrupted is handed back, uncounted, and handled by the next worker."""
    release = threading.Event()
    attempts: list[int] = []

    try:
        started = asyncio.Event()
        loop = asyncio.get_running_loop()

        async def waits(message: Message) -> str:
            attempts.append(message.attempt)
            started.set()
            if len(attempts) == 1:
                await asyncio.Event().wait()
            return "done"

        def blocks(message: Message) -> str:
            attempts.append(message.attempt)
            loop.call_soon_threadsafe(started.set)
            if len(attempts) == 1:
                release.wait(20)
            return "done"

        handlers = handled_by(waits if kind == "coroutine" else blocks)
        async with opened(tmp_path, handlers, max_attempts=1) as line:
            sid = await line.receive("hello")
            working = asyncio.create_task(line.worker.run())
            await started.wait()
            line.worker.stop(20.0)
            line.worker.stop(0.05)  # who asks twice is in a hurry
            await working
            assert triggers(line.told.of(Handled)) == [Trigger.INTERRUPT]
            record = await line.record(sid)
            assert (record.state, record.attempts, record.crashes) == (State.OPEN, 0, 0)
            successor = Line(line.store, line.url, handlers, line.settings)
            async with serving(successor):
                await successor.told.runs(1)
            assert await line.state(sid) is State.DONE
            assert attempts == [1, 1]
        release.set()
    finally:
        release.set()


async def steal(line: Line) -> Claim:
    """Take the running message of a worker that has no capacity to take it back."""
    while True:  # until no heartbeat has come in between
        await line.store.release("worker")
        claims = (await line.store.claim(1, lease=3600.0, owner="thief", alone=False)).claims
        if claims:
            return claims[0]


async def test_a_run_whose_lease_is_gone_is_cancelled_and_can_do_nothing(tmp_path: Path) -> None:
    """Neither a reply nor the settling of a run counts once another run has its message."""
    outcomes: list[str] = []

    started = asyncio.Event()

    async def answer(message: Message) -> str:
        started.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            try:
                await message.reply("too late")
            except (LeaseLost, NotRunning) as error:
                outcomes.append(type(error).__name__)
        return "too late"

    async with opened(tmp_path, handled_by(answer), lease=1.0, concurrency=1) as line:
        sid = await line.receive("hello")
        async with serving(line):
            await started.wait()
            theirs = await steal(line)
            await line.told.problem(Topic.LEASE_LOST)
            assert await line.state(sid) is State.RUNNING
            await line.store.settle(theirs, Settlement(Trigger.COMPLETE))
        assert not await line.ledger(sid)
        assert not line.told.of(Handled)
    assert outcomes == ["NotRunning"]


async def test_a_reply_under_a_lost_lease_is_refused_before_the_run_has_heard_of_it(
    tmp_path: Path,
) -> None:
    outcomes: list[BaseException] = []

    started, stolen = asyncio.Event(), asyncio.Event()

    async def answer(message: Message) -> str:
        started.set()
        await stolen.wait()
        try:
            await message.reply("not mine any more")
        except LeaseLost as error:
            outcomes.append(error)
        return "nor this"

    async with opened(tmp_path, handled_by(answer), concurrency=1) as line:
        line.heartbeat_url = f"sqlite:///{tmp_path}/away/offhook.db"  # tells nothing
        sid = await line.receive("hello")
        async with serving(line):
            await started.wait()
            await steal(line)
            stolen.set()
            await line.told.problem(Topic.LEASE_LOST)
        assert not await line.ledger(sid)
    assert len(outcomes) == 1


async def test_a_message_that_killed_workers_runs_alone(tmp_path: Path) -> None:
    """After two crashes nothing runs beside it that could die with it, and all the rest goes on."""
    running: set[str] = set()
    beside: list[set[str]] = []

    async def answer(message: Message) -> None:
        running.add(message.body)
        if message.body == "suspect":
            beside.append(set(running))
        await asyncio.sleep(0.1)  # long enough to be seen beside others
        running.discard(message.body)

    async with opened(tmp_path, handled_by(answer)) as line:
        suspect = await line.receive("suspect")
        await crash(line.store, 2)
        for number in range(5):
            await line.receive(f"other {number}", sender=f"+1555{number}")
        async with serving(line):
            await line.told.until(lambda: len(line.told.of(Handled)) >= 1)
            await line.receive("late", sender=BOB)
            await line.told.runs(7)
        assert await line.state(suspect) is State.DONE
    assert beside == [{"suspect"}]


async def test_a_message_that_killed_too_many_workers_is_dead_and_the_person_told(
    tmp_path: Path,
) -> None:
    ran: list[Message] = []

    def answer(message: Message) -> None:
        ran.append(message)

    async with opened(tmp_path, handled_by(answer), failure_notice="sorry") as line:
        sid = await line.receive("poison")
        await crash(line.store, 5)
        async with serving(line):
            await line.told.problem(Topic.BURIED)
        assert await line.state(sid) is State.DEAD
        (notice,) = (await line.ledger(sid)).values()
        assert (notice.identity, notice.body, notice.to) == ("notice:failure", "sorry", ANN)
    assert not ran


async def test_a_store_that_is_away_for_the_settling_is_waited_for(tmp_path: Path) -> None:
    runs: list[int] = []

    def answer(message: Message) -> str:
        runs.append(message.attempt)
        return "done"

    async with opened(tmp_path, handled_by(answer)) as line:
        settle, failures = line.store.settle, 2

        async def away(claim: Claim, settlement: Settlement) -> object:
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreUnavailable("the disk is full")
            return await settle(claim, settlement)

        line.store.settle = away  # type: ignore[method-assign, assignment]
        sid = await line.receive("hello")
        async with serving(line):
            await line.told.runs(1)
        assert await line.state(sid) is State.DONE
        told = [problem.resolved for problem in line.told.of(Problem)]
        assert told == [False, True]
    assert runs == [1]


@pytest.mark.parametrize("call", ["claim", "claim_sends"])
async def test_a_store_that_takes_small_writes_only_is_not_asked_in_a_busy_loop(
    tmp_path: Path, call: str
) -> None:
    """As when a disk is nearly full: leases can be handed back, and nothing be claimed."""

    async with opened(tmp_path, handled_by(lambda: "hello back")) as line:
        asked = 0

        async def full(*_: object, **__: object) -> object:
            nonlocal asked
            asked += 1
            raise StoreUnavailable("the disk is full")

        await line.receive("hello")
        if call == "claim_sends":
            async with serving(line):
                await line.told.runs(1)
        setattr(line.store, call, full)
        async with serving(line, sends=True):
            await line.told.problem(Topic.STORE_UNAVAILABLE)
            await asyncio.sleep(1.5)  # a busy loop, from the second time on, would ask a hundred
        assert asked <= 5


async def test_a_handler_that_blocks_the_loop_is_told_and_keeps_its_lease(tmp_path: Path) -> None:
    async def blocks() -> None:
        time.sleep(3.5)  # noqa: ASYNC251 - the subject

    async with opened(tmp_path, handled_by(blocks), lease=3.0) as line:
        sid = await line.receive("hello")
        async with serving(line):
            (handled,) = await line.told.runs(1)
            await line.told.problem(Topic.HANDLER_BLOCKS)
        assert handled.trigger is Trigger.COMPLETE
        assert (await line.record(sid)).crashes == 0
        assert Topic.LEASE_LOST not in line.told.topics()


async def test_once_the_loop_stands_still_for_too_long_no_lease_is_renewed(tmp_path: Path) -> None:
    """A worker that does nothing any more must look dead to the store."""

    async with opened(tmp_path, handled_by()) as line:
        await line.receive("hello")
        (claim,) = (await line.store.claim(1, lease=3.0, owner="worker", alone=False)).claims
        lost: list[frozenset[int]] = []
        lasts: list[float] = []
        told = Told()

        def lose(tokens: frozenset[int]) -> None:
            lost.append(tokens)
            told(Problem(Topic.LEASE_LOST, "as a worker would tell"))

        loop_monitor = LoopMonitor(told)
        heartbeat = Heartbeat(
            lambda: open_store(line.url),
            loop_monitor,
            tokens=lambda: (claim.token,),
            renewed=lambda _tokens, until: lasts.append(until),
            lost=lose,
            observer=told,
            lease=3.0,
            stall_limit=1.5,
        )
        heartbeat.start()
        async with asyncio.timeout(PATIENCE):
            while not lasts or lasts[-1] < lasts[0] + 3.0:  # longer than the first lease
                assert not (await line.store.claim(1, lease=30.0, owner="o", alone=False)).claims
                await asyncio.sleep(0.05)
        successor: list[Claim] = []
        claiming = threading.Thread(target=lambda: asyncio.run(_claim_once_free(line, successor)))
        claiming.start()
        claiming.join()  # it blocks the loop: the subject
        assert [taken.crashes for taken in successor] == [1]
        await told.until(lambda: Topic.HANDLER_BLOCKS in told.topics())
        await told.problem(Topic.LEASE_LOST)
        assert lost[0] == {claim.token}
        loop_monitor.stop()
        await heartbeat.stop()


async def _claim_once_free(line: Line, claims: list[Claim]) -> None:
    """Claim on another thread's loop, once the lease of the one who has the message is over."""
    store = open_store(line.url)
    await store.open()
    async with asyncio.timeout(PATIENCE):
        while not claims:
            claims += (await store.claim(1, lease=30.0, owner="other", alone=False)).claims
            await asyncio.sleep(0.02)
    await store.close()


async def test_what_a_claim_brings_after_its_lease_is_not_run(tmp_path: Path) -> None:
    """The process stood still meanwhile; another may have it, or it is had again at once."""
    seen: list[str] = []

    async def answer(message: Message) -> None:
        seen.append(message.body)

    async with opened(tmp_path, handled_by(answer), lease=1.0) as line:
        claim = line.store.claim
        taken = asyncio.Event()

        async def late(limit: int, **given: Any) -> Claimed:
            claimed = await claim(limit, **given)
            if claimed.claims and not taken.is_set():
                await asyncio.sleep(1.1)
                assert (await line.store.release("worker")) == 1
                (other,) = (await claim(1, lease=30.0, owner="other", alone=False)).claims
                await line.store.settle(other, Settlement(Trigger.COMPLETE))
                taken.set()
            return claimed

        line.store.claim = late  # type: ignore[method-assign]
        sid = await line.receive("late")
        async with serving(line):
            await taken.wait()
            await line.receive("next")
            await line.told.runs(1)
        assert seen == ["next"]
        assert await line.state(sid) is State.DONE


@asynccontextmanager
async def unrenewed(tmp_path: Path, handler: Callable[[Message], Any]) -> AsyncIterator[Line]:
    """A line that is served, and whose leases nobody renews."""
    async with opened(tmp_path, handled_by(handler), lease=30.0) as line:
        line.heartbeat_url = f"sqlite:///{tmp_path}/away/offhook.db"
        async with serving(line):
            yield line


async def test_a_run_whose_lease_ran_out_while_all_stood_still_is_handed_back(
    tmp_path: Path,
) -> None:
    """An async handler is cancelled before another line of it runs; no attempt is counted."""
    seen: list[str] = []

    begun = asyncio.Event()

    async def answer(message: Message) -> None:
        seen.append(f"{message.body}/{message.attempt}")
        begun.set()
        try:
            await asyncio.sleep(0 if len(seen) > 1 else 60)
        finally:
            seen.append("ended")

    async with unrenewed(tmp_path, answer) as line:
        sid = await line.receive("hello")
        await begun.wait()
        (running,) = line.worker._loop.running.values()
        running.until = 0.0
        time.sleep(1.0)  # noqa: ASYNC251 - the process stands still
        (handled,) = await line.told.runs(1)
        assert handled.trigger is Trigger.INTERRUPT
        assert (await line.told.runs(2))[1].trigger is Trigger.COMPLETE
        assert seen == ["hello/1", "ended", "hello/1", "ended"]
        assert (await line.record(sid)).crashes == 0


async def test_a_handler_in_a_thread_goes_on_if_nobody_has_taken_its_message(
    tmp_path: Path,
) -> None:
    """It can't be cancelled: beside it, another run of the message would be out of order."""
    begun, go = threading.Event(), threading.Event()

    def answer(message: Message) -> None:
        begun.set()
        go.wait(PATIENCE)

    async with unrenewed(tmp_path, answer) as line:
        await line.receive("hello")
        await asyncio.to_thread(begun.wait, PATIENCE)
        (running,) = line.worker._loop.running.values()
        running.until = 0.0
        time.sleep(1.0)  # noqa: ASYNC251 - the process stands still
        await line.told.problem(Topic.HANDLER_BLOCKS)
        go.set()
        (handled,) = await line.told.runs(1)
        assert (handled.trigger, handled.attempt) == (Trigger.COMPLETE, 1)
