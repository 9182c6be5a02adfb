"""The typing indicator is shown where there is one; no handler fails, whatever becomes of it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offhook.core.lifecycle import State
from offhook.errors import NotRunning
from offhook.events import Topic
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.twilio.simulator import Event, Simulator, TypingShown
from offhook.twilio.typing_indicator import TypingIndicator
from offhook.worker.message import Message
from offhook.worker.service import Worker
from tests.worker.support import Line, handled_by, opened, serving

WHATSAPP = "whatsapp:+15551230001"


@asynccontextmanager
async def connected(
    tmp_path: Path, handler: Callable[..., Any], *, token: str = "", **changes: Any
) -> AsyncIterator[tuple[Line, asyncio.Queue[Event]]]:
    """Yield a worker that is connected to a simulator, and the events of that."""
    account = Simulator.credentials()
    simulator = Simulator(**account._asdict())
    events: asyncio.Queue[Event] = asyncio.Queue()
    handlers = handled_by(handler)
    async with (
        asyncio.timeout(60),
        simulator,
        simulator.serve() as api,
        opened(tmp_path, handlers, **changes) as line,
    ):
        login = account._asdict() | ({"auth_token": token} if token else {})
        typing = TypingIndicator(Settings.load(env_file=None, twilio_api=api, **login), line.told)
        line.worker = Worker(
            line.store, handlers, line.settings, line.told,
            owner="worker", open_store=lambda: open_store(line.url), typing=typing,
        )  # fmt: skip
        with simulator.listening(events.put_nowait):
            yield line, events
        await typing.close()


async def shown(events: asyncio.Queue[Event]) -> str:
    while True:
        match await events.get():
            case TypingShown(sid):
                return sid


def in_a_thread(message: Message) -> str:
    message.typing()
    return "done"


async def on_the_loop(message: Message) -> str:
    await message.typing()
    return "done"


async def without_await(message: Message) -> str:
    message.typing()
    return "done"


@pytest.mark.parametrize("handler", [in_a_thread, on_the_loop, without_await])
async def test_any_handler_may_show_it(tmp_path: Path, handler: Callable[..., Any]) -> None:
    async with connected(tmp_path, handler) as (line, events):
        sid = await line.receive("hello", sender=WHATSAPP)
        async with serving(line):
            assert await shown(events) == sid
            await line.told.runs(1)
        assert await line.state(sid) is State.DONE
        assert [send.body for send in (await line.ledger(sid)).values()] == ["done"]


async def test_auto_shows_it_once_a_run_and_on_whatsapp_only(tmp_path: Path) -> None:
    async def answer(message: Message) -> str:
        await message.typing()
        await message.typing()
        return "done"

    async with connected(tmp_path, answer, typing="auto") as (line, events):
        await line.receive("by SMS", sender="+15551230001")
        first = await line.receive("hello", sender=WHATSAPP)
        async with serving(line):
            assert await shown(events) == first
            await line.told.runs(2)
            last = await line.receive("and again", sender=WHATSAPP)
            assert await shown(events) == last


async def test_a_refusal_is_reported_once_and_fails_nothing(tmp_path: Path) -> None:
    async with connected(tmp_path, on_the_loop, token="wrong") as (line, _):
        async with serving(line):
            first = await line.receive("hello", sender=WHATSAPP)
            problem = await line.told.problem(Topic.TYPING)
            second = await line.receive("and again", sender=WHATSAPP)
            await line.told.runs(2)
        assert "not shown" in problem.text
        assert [await line.state(sid) for sid in (first, second)] == [State.DONE, State.DONE]
        assert line.told.topics().count(Topic.TYPING) == 1


def test_outside_a_handler_it_says_so() -> None:
    message = Message.parse({"MessageSid": "SM1", "From": WHATSAPP, "To": "+1"})
    with pytest.raises(NotRunning, match=r"message\.typing"):
        message.typing()
