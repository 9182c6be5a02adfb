import asyncio
from collections.abc import Sequence
from pathlib import Path

from offhook.core.lifecycle import SendState
from offhook.errors import StoreUnavailable
from offhook.events import Handled, Trouble
from offhook.ports import Overdue
from tests.worker.support import ANN, Line, handled_by, opened, run, serving

SLOW = "one moment"


async def wait_for_notice(line: Line, sid: str) -> None:
    changed = line.store.listen()
    while "notice:slow" not in await line.ledger(sid):
        await changed.wait()
        changed.clear()


def test_who_waits_too_long_is_told_once_in_a_conversation(tmp_path: Path) -> None:
    async def scenario() -> None:
        finish = asyncio.Event()

        async def slow() -> str:
            await finish.wait()
            return "done"

        async with opened(tmp_path, handled_by(slow), slow_notice=SLOW) as line:
            sids = [await line.receive("hello", notice_after=0.0) for _ in range(2)]
            async with serving(line, sends=True, upkeep=True):
                await line.told.until(lambda: line.outbox.bodies == [SLOW])
                finish.set()
                await line.told.until(lambda: line.outbox.bodies == [SLOW, "done", "done"])
            assert line.outbox.sent[0].draft.to == ANN
            assert list(await line.ledger(sids[1])) == ["return:0"]

    run(scenario)


def test_a_notice_that_has_not_left_is_cancelled_by_the_answer(tmp_path: Path) -> None:
    async def scenario() -> None:
        finish = asyncio.Event()

        async def slow() -> str:
            await finish.wait()
            return "done"

        async with opened(tmp_path, handled_by(slow), slow_notice=SLOW) as line:
            sid = await line.receive("hello", notice_after=0.0)
            async with serving(line, upkeep=True):
                await wait_for_notice(line, sid)
                finish.set()
                await line.told.until(lambda: bool(line.told.of(Handled)))
            ledger = await line.ledger(sid)
            assert ledger["notice:slow"].state is SendState.CANCELED
            assert ledger["return:0"].state is SendState.PENDING

    run(scenario)


def test_a_store_that_is_away_is_told_once_and_once_more_when_it_is_back(tmp_path: Path) -> None:
    async def scenario() -> None:
        async with opened(tmp_path, handled_by(), slow_notice=SLOW) as line:
            overdue, failures = line.store.overdue, 2

            async def away(limit: int) -> Sequence[Overdue]:
                nonlocal failures
                if failures:
                    failures -= 1
                    raise StoreUnavailable("the disk is full")
                return await overdue(limit)

            line.store.overdue = away  # type: ignore[method-assign]
            working = asyncio.create_task(line.upkeep.run())
            await line.told.until(lambda: len(line.told.of(Trouble)) == 2)
            line.upkeep.stop()
            await working
            assert [trouble.ok for trouble in line.told.of(Trouble)] == [False, True]

    run(scenario)
