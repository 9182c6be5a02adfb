"""What one person sends beyond the limit is stored and set aside; the person is told once."""

from pathlib import Path
from typing import Any

from offhook.core.lifecycle import State
from offhook.core.reasons import Cause
from offhook.errors import RetryLater
from offhook.events import Topic
from offhook.worker.message import Message
from tests.worker.support import ANN, BOB, Line, handled_by, opened, serving

# Two in a window that ends in 2033.
LIMIT: Any = {"sender_limit": (2, 1e9), "limit_notice": "not so fast"}


def answer() -> str:
    return "you said"


async def states(line: Line, sids: list[str]) -> list[State]:
    return [await line.state(sid) for sid in sids]


async def test_what_is_too_many_is_parked_with_the_reason_and_one_notice(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(answer), **LIMIT) as line:
        sids = [await line.receive(f"{n}") for n in range(5)]
        other = await line.receive("hello", sender=BOB)
        async with serving(line):
            await line.told.runs(6)
        assert await states(line, [*sids, other]) == [
            State.DONE, State.DONE, State.PARKED, State.PARKED, State.PARKED, State.DONE,
        ]  # fmt: skip
        third = await line.record(sids[2])
        assert third.error == Cause.SENDER_LIMIT(2, 1e9)
        (notice,) = (await line.ledger(sids[2])).values()
        assert (notice.identity, notice.body, notice.to) == ("notice:limit", "not so fast", ANN)
        assert not await line.ledger(sids[3])
        assert line.told.topics() == [Topic.SENDER_LIMIT]


async def test_the_limit_is_the_persons_whichever_of_our_numbers_they_write_to(
    tmp_path: Path,
) -> None:
    async with opened(tmp_path, handled_by(answer), **LIMIT) as line:
        sids = [await line.receive("hello", To=f"+1500555000{n}") for n in range(3)]
        async with serving(line):
            await line.told.runs(3)
        assert sorted(await states(line, sids)) == [State.DONE, State.DONE, State.PARKED]


async def test_a_stop_is_heard_however_many_came_before(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(answer), **LIMIT) as line:
        for n in range(3):
            await line.receive(f"{n}")
        stop = await line.receive("STOP")
        async with serving(line):
            await line.told.runs(4)
        assert await line.state(stop) is State.DISCARDED


async def test_what_an_operator_replays_is_handled(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(answer), **LIMIT) as line:
        sids = [await line.receive(f"{n}") for n in range(4)]
        async with serving(line):
            await line.told.runs(4)
            assert await states(line, sids[2:]) == [State.PARKED, State.PARKED]
            for sid in sids[2:]:
                assert await line.store.replay((await line.record(sid)).id)
            await line.told.runs(6)
        assert await states(line, sids) == [State.DONE] * 4


async def test_a_retry_does_not_count_again(tmp_path: Path) -> None:
    async def twice(message: Message) -> None:
        if message.attempt <= 3:
            raise RetryLater(0.01)

    async with opened(tmp_path, handled_by(twice), **LIMIT) as line:
        sids = [await line.receive("one"), await line.receive("two")]
        async with serving(line):
            await line.told.runs(8)
        assert await states(line, sids) == [State.DONE, State.DONE]


async def test_a_notice_that_is_turned_off_is_not_written(tmp_path: Path) -> None:
    async with opened(tmp_path, handled_by(answer), **{**LIMIT, "limit_notice": ""}) as line:
        sids = [await line.receive(f"{n}") for n in range(3)]
        async with serving(line):
            await line.told.runs(3)
        assert await line.state(sids[2]) is State.PARKED
        assert not await line.ledger(sids[2])
