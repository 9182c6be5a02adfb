"""What was said before, as a handler asks for it."""

from pathlib import Path

import pytest

from offhook.core.messages import Reply
from offhook.core.turns import Turn
from offhook.errors import NotRunning
from offhook.worker.message import Message
from tests.worker.support import ANN, BOB, handled_by, opened, serving


def told(history: list[Turn]) -> list[str]:
    return [f"{turn.direction}: {turn.body}" for turn in history]


async def test_an_async_and_a_def_handler_are_told_both_sides(tmp_path: Path) -> None:
    found: list[list[str]] = []

    async def remember(message: Message) -> list[str | Reply]:
        await message.reply("thinking")
        found.append(told(await message.conversation.history(limit=3)))
        return [f"answer to {message.body}", Reply("for another", to=BOB)]

    def in_a_thread(message: Message) -> str:
        found.append(told(message.conversation.history(limit=3)))
        return f"answer to {message.body}"

    handlers = handled_by(in_a_thread, where=lambda message: message.body == "c")
    handlers.add_message(remember)
    async with opened(tmp_path, handlers) as line, serving(line):
        for n, (body, sender) in enumerate((("a", ANN), ("x", BOB), ("b", ANN), ("c", ANN)), 1):
            await line.receive(body, sender=sender)
            await line.told.runs(n)
    assert found == [
        [],
        [],
        ["inbound: a", "outbound: thinking", "outbound: answer to a"],
        ["inbound: b", "outbound: thinking", "outbound: answer to b"],
    ]


async def test_a_history_that_is_not_awaited_fails_the_attempt(tmp_path: Path) -> None:
    async def forgetful(message: Message) -> None:
        message.conversation.history()

    async with opened(tmp_path, handled_by(forgetful, max_attempts=1)) as line, serving(line):
        await line.receive("a")
        (handled,) = await line.told.runs(1)
        assert "test_history.py" in str(handled.error)


async def test_there_is_no_history_once_the_handler_has_returned(tmp_path: Path) -> None:
    kept: list[Message] = []

    async def keep(message: Message) -> None:
        kept.append(message)

    async with opened(tmp_path, handled_by(keep)) as line, serving(line):
        await line.receive("a")
        await line.told.runs(1)
        with pytest.raises(NotRunning):
            await kept[0].conversation.history()
