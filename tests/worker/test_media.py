"""A handler fetches, saves and deletes the files of its message, in a coroutine or in a thread."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from offhook import Media
from offhook.core.lifecycle import State
from offhook.core.reasons import Cause
from offhook.errors import MediaGone, NotRunning
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.twilio.media import MediaClient
from offhook.twilio.simulator import File, Simulator
from offhook.worker.message import Message
from offhook.worker.service import Worker
from testing.twilio.helpers import webhook_of
from tests.worker.support import Line, handled_by, opened, serving

CONTENT = os.urandom(100_000)
LOGIN = Simulator.credentials()


@asynccontextmanager
async def connected(
    tmp_path: Path, handler: Callable[..., Any], **options: Any
) -> AsyncIterator[tuple[Line, dict[str, Any]]]:
    """Yield a worker that is connected to a simulator, and the parameters of a picture there."""
    handlers = handled_by(handler, **options)
    async with (
        asyncio.timeout(60),
        Simulator(**LOGIN._asdict()) as simulator,
        simulator.serve() as api,
        webhook_of(simulator),
        opened(tmp_path, handlers, account_sid=LOGIN.account_sid, failure_notice="") as line,
    ):
        settings = Settings.load(env_file=None, twilio_api=api, **LOGIN._asdict())
        files = MediaClient(settings, pauses=(0.0,))
        line.worker = Worker(
            line.store, handlers, line.settings, line.told,
            owner="worker", open_store=lambda: open_store(line.url), files=files,
        )  # fmt: skip
        (picture,) = (await simulator.text(media=[File(CONTENT, "image/png")])).media
        yield (
            line,
            {
                "NumMedia": "1",
                "MediaUrl0": picture.url,
                "MediaContentType0": picture.content_type,
                "AccountSid": LOGIN.account_sid,
            },
        )
        await files.close()


async def settled(line: Line, params: dict[str, Any]) -> str:
    sid = await line.receive("look", **params)
    async with serving(line):
        await line.told.runs(1)
    return sid


async def test_a_coroutine_awaits_them(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"

    async def keep(message: Message) -> str:
        (picture,) = message.media
        content = await picture.fetch()
        await picture.save(path)
        await picture.delete()
        with pytest.raises(MediaGone):
            await picture.fetch()
        return f"{picture.content_type} {content == CONTENT}"

    async with connected(tmp_path, keep) as (line, params):
        sid = await settled(line, params)
        assert [send.body for send in (await line.ledger(sid)).values()] == ["image/png True"]
    assert path.read_bytes() == CONTENT


async def test_a_thread_needs_no_await_and_may_use_one(tmp_path: Path) -> None:
    path = tmp_path / "cat.png"

    def keep(message: Message) -> str:
        (picture,) = message.media
        content = picture.fetch()
        picture.save(str(path))
        picture.delete()

        async def waits() -> bytes:
            return await content

        assert isinstance(content, bytes)
        return str(content == asyncio.run(waits()) == CONTENT)

    async with connected(tmp_path, keep) as (line, params):
        sid = await settled(line, params)
        assert [send.body for send in (await line.ledger(sid)).values()] == ["True"]
    assert path.read_bytes() == CONTENT


async def test_a_loop_of_a_threads_own_may_await_them(tmp_path: Path) -> None:
    def keep(message: Message) -> str:
        async def fetched() -> bytes:
            return await message.media[0].fetch()

        return str(asyncio.run(fetched()) == CONTENT)

    async with connected(tmp_path, keep) as (line, params):
        sid = await settled(line, params)
        assert [send.body for send in (await line.ledger(sid)).values()] == ["True"]


async def test_one_that_nobody_awaited_is_an_error_that_names_its_line(tmp_path: Path) -> None:
    async def forgets(message: Message) -> str:
        message.media[0].save(tmp_path / "cat.png")
        return "kept"

    where = f"{__file__}:{forgets.__code__.co_firstlineno + 1}"
    async with connected(tmp_path, forgets, max_attempts=1) as (line, params):
        record = await line.record(await settled(line, params))
    assert (record.state, record.error) == (State.DEAD, Cause.NOT_AWAITED(where))
    assert not (tmp_path / "cat.png").exists()


async def test_one_that_was_made_a_task_of_is_done_before_the_message_is(tmp_path: Path) -> None:
    path, tasks = tmp_path / "cat.png", []

    async def keep(message: Message) -> str:
        tasks.append(asyncio.create_task(message.media[0].save(path)))
        return "kept"

    async with connected(tmp_path, keep) as (line, params):
        assert await line.state(await settled(line, params)) is State.DONE
    assert path.read_bytes() == CONTENT


async def test_bytes_are_not_there_before_they_are_awaited(tmp_path: Path) -> None:
    async def keep(message: Message) -> str:
        content = message.media[0].fetch()
        with pytest.raises(AttributeError, match=r"media\.fetch has no 'hex' yet: await it"):
            content.hex()
        return str(await content == CONTENT)

    async with connected(tmp_path, keep) as (line, params):
        sid = await settled(line, params)
        assert [send.body for send in (await line.ledger(sid)).values()] == ["True"]


async def test_once_the_run_is_over_nothing_is_fetched(tmp_path: Path) -> None:
    kept: list[Media] = []

    async def keep(message: Message) -> None:
        kept.extend(message.media)

    async with connected(tmp_path, keep) as (line, params):
        await settled(line, params)
        with pytest.raises(NotRunning, match="over"):
            await kept[0].fetch()


def test_outside_a_handler_it_says_so() -> None:
    message = Message.parse({"NumMedia": "1", "MediaUrl0": "https://api.twilio.com/x"})
    (picture,) = message.media
    for call in (picture.fetch, picture.delete, lambda: picture.save("cat.png")):
        with pytest.raises(
            NotRunning, match=r"media\.\w+ works while its message is being handled"
        ):
            call()
    assert picture == Media("https://api.twilio.com/x", "")
