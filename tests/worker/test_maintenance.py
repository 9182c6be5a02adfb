import asyncio
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from offhook.core.lifecycle import SendState, State
from offhook.errors import StoreUnavailable
from offhook.events import Handled, Problem, Topic
from offhook.stores.api import Filter, Overdue
from offhook.stores.sqlite.writer import Writer
from offhook.worker import maintenance
from offhook.worker.message import Message
from tests.worker.support import ANN, PATIENCE, Line, handled_by, lane, opened, serving

SLOW = "one moment"


async def wait_for_notice(line: Line, sid: str) -> None:
    changed = line.store.listen()
    while "notice:slow" not in await line.ledger(sid):
        await changed.wait()
        changed.clear()


async def test_who_waits_too_long_is_told_once_in_a_conversation(tmp_path: Path) -> None:
    finish = asyncio.Event()

    async def slow() -> str:
        await finish.wait()
        return "done"

    async with opened(tmp_path, handled_by(slow), slow_notice=SLOW) as line:
        sids = [await line.receive("hello", notice_after=0.0) for _ in range(2)]
        async with serving(line, sends=True, maintenance=True):
            await line.told.until(lambda: line.outbox.bodies == [SLOW])
            finish.set()
            await line.told.until(lambda: line.outbox.bodies == [SLOW, "done", "done"])
        assert line.outbox.sent[0].draft.to == ANN
        assert list(await line.ledger(sids[1])) == ["return:0"]


async def test_a_notice_that_has_not_left_is_cancelled_by_the_answer(tmp_path: Path) -> None:
    finish = asyncio.Event()

    async def slow() -> str:
        await finish.wait()
        return "done"

    async with opened(tmp_path, handled_by(slow), slow_notice=SLOW) as line:
        sid = await line.receive("hello", notice_after=0.0)
        async with serving(line, maintenance=True):
            await wait_for_notice(line, sid)
            finish.set()
            await line.told.until(lambda: bool(line.told.of(Handled)))
        ledger = await line.ledger(sid)
        assert ledger["notice:slow"].state is SendState.CANCELED
        assert ledger["return:0"].state is SendState.PENDING


async def test_a_mass_of_slow_messages_is_told_in_few_transactions(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    commits = 0
    commit = Writer.commit

    def counted(writer: Writer) -> None:
        nonlocal commits
        commits += 1
        commit(writer)

    async with opened(tmp_path, handled_by(), slow_notice=SLOW) as line:
        people = [f"+1555123{n:04}" for n in range(200)]
        sids = [await line.receive("hello", sender=one, notice_after=0.0) for one in people]
        monkeypatch.setattr(Writer, "commit", counted)
        working = asyncio.create_task(line.maintenance.run())
        await wait_for_notice(line, sids[-1])
        line.maintenance.stop()
        await working
        assert all(["notice:slow" in await line.ledger(sid) for sid in sids])
    assert commits <= 200 / 4


async def test_what_waited_while_no_worker_ran_has_time_to_be_handled_first(
    tmp_path: Path,
) -> None:
    began = time.monotonic()
    async with opened(tmp_path, handled_by(), slow_notice=SLOW, slow_notice_after=1.0) as line:
        sid = await line.receive("hello", notice_after=0.0)
        working = asyncio.create_task(line.maintenance.run())
        await wait_for_notice(line, sid)
        assert time.monotonic() - began >= 1.0
        line.maintenance.stop()
        await working


async def test_a_store_that_is_away_is_told_once_and_once_more_when_it_is_back(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, handled_by(), slow_notice=SLOW) as line:
        overdue, failures = line.store.overdue, 2

        async def away(limit: int) -> Sequence[Overdue]:
            nonlocal failures
            if failures:
                failures -= 1
                raise StoreUnavailable("the disk is full")
            return await overdue(limit)

        line.store.overdue = away  # type: ignore[method-assign]
        working = asyncio.create_task(line.maintenance.run())
        await line.told.until(lambda: len(line.told.of(Problem)) == 2)
        line.maintenance.stop()
        await working
        assert [problem.resolved for problem in line.told.of(Problem)] == [False, True]


async def test_what_is_over_is_pruned_from_the_start_on(tmp_path: Path) -> None:
    async def answer(message: Message) -> None:
        message.conversation.state["last"] = message.sid

    over = 1e-9  # days
    kept = {"retention": over, "dead_retention": over, "state_retention": over}
    async with opened(tmp_path, handled_by(answer), **kept) as line:
        for _ in range(150):  # more than a batch
            await line.receive("hello")
        async with serving(line):
            await line.told.runs(150)
        assert len(await line.store.find(Filter(limit=200))) == 150
        assert await line.store.saved_state(lane(ANN)) is not None
        async with serving(line, maintenance=True):
            await gone(line)
        assert await line.store.find(Filter()) == []
        assert await line.store.saved_state(lane(ANN)) is None


async def test_parked_messages_are_told_of_before_they_are_deleted(tmp_path: Path) -> None:
    async def answer() -> None:
        return None

    limited = {"sender_limit": (1, 1e9), "limit_notice": "", "parked_retention": 6.0}
    async with opened(tmp_path, handled_by(answer), **limited) as line:
        sids = [await line.receive("hello") for _ in range(2)]
        async with serving(line):
            await line.told.runs(2)
        async with serving(line, maintenance=True):
            problem = await line.told.problem(Topic.PARKED_EXPIRE)
        assert problem.text.startswith("parked messages: 1, the oldest for 0 days")
        assert await line.state(sids[1]) is State.PARKED


async def test_texts_go_once_a_message_is_done_when_they_are_not_to_be_kept(tmp_path: Path) -> None:
    async def answer() -> str:
        return "my answer"

    async with opened(tmp_path, handled_by(answer), keep_bodies=False) as line:
        sid = await line.receive("my secret")
        async with serving(line, sends=True, maintenance=True):
            await reduced(line, sid)
        (send,) = (await line.ledger(sid)).values()
        assert (send.state, send.body) == (SendState.SENT, "")
        assert b"secret" not in (await line.record(sid)).form


async def gone(line: Line) -> None:
    """Wait until no message is left: nothing tells of a pruning."""
    async with asyncio.timeout(PATIENCE):
        while await line.store.find(Filter()):
            await line.store.tidy()


async def reduced(line: Line, sid: str) -> None:
    async with asyncio.timeout(PATIENCE):
        while not (await line.record(sid)).reduced:
            await line.store.tidy()


async def test_a_store_that_is_away_is_told_of_once_though_there_are_no_notices(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "_ROUND", 0.01)

    async with opened(tmp_path, handled_by(), slow_notice="") as line:
        asked = asyncio.Semaphore(0)

        async def away() -> None:
            asked.release()
            raise StoreUnavailable("the disk is full")

        line.store.tidy = away  # type: ignore[method-assign]
        async with serving(line, maintenance=True):
            for _ in range(3):
                await asked.acquire()
        told = [t.resolved for t in line.told.of(Problem) if t.topic is Topic.STORE_UNAVAILABLE]
        assert told == [False]
