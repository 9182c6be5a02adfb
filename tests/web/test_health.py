import asyncio
from pathlib import Path

import pytest
from starlette.types import Message

from offhook.web.health import READY_TIMEOUT, REMEMBERED, Health
from testing.plain_http import PlainAsyncClient
from testing.webhooks import line


@pytest.fixture
def _patience_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.web.health.READY_TIMEOUT", 60.0)  # a busy machine is ready too


@pytest.mark.usefixtures("_patience_with_the_store")
async def test_a_process_is_alive_and_ready_while_its_store_is_there(tmp_path: Path) -> None:
    async with line(tmp_path) as running, PlainAsyncClient(base_url=running.base) as client:
        assert (await client.get("/healthz")).text == "alive\n"
        assert (await client.get("/readyz")).text == "ready\n"
        await running.store.close()
        assert (await client.get("/healthz")).status_code == 200
        async with asyncio.timeout(REMEMBERED + 60):
            while (ready := await client.get("/readyz")).status_code == 200:  # noqa: ASYNC110
                await asyncio.sleep(0.01)  # it tells nobody
        assert ready.status_code == 503
        assert ready.headers["x-offhook-error"] == "store-unavailable"
        assert ready.headers["cache-control"] == "no-store"


@pytest.mark.usefixtures("_patience_with_the_store")
async def test_a_health_check_may_be_a_head_and_nothing_else(tmp_path: Path) -> None:
    async with line(tmp_path) as running, PlainAsyncClient(base_url=running.base) as client:
        head = await client.head("/readyz")
        assert (head.status_code, head.content) == (200, b"")
        post = await client.post("/healthz")
        assert (post.status_code, post.headers["allow"]) == (405, "GET, HEAD")


async def status_of(health: Health) -> int:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request"}

    async def send(message: Message) -> None:
        sent.append(message)

    await health({"type": "http", "method": "GET", "path": "/readyz"}, receive, send)
    return int(sent[0]["status"])


async def test_a_store_that_hangs_is_not_ready() -> None:
    async def hangs() -> bool:
        await asyncio.Event().wait()
        return True

    started = asyncio.get_running_loop().time()
    assert await status_of(Health(hangs)) == 503
    assert asyncio.get_running_loop().time() - started < READY_TIMEOUT + 60


async def test_a_check_may_just_say_no() -> None:
    async def no() -> bool:
        return False

    assert await status_of(Health(no)) == 503


async def test_however_many_ask_at_a_time_the_store_is_written_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("offhook.web.health.REMEMBERED", 60.0)
    writes = 0
    written = asyncio.Event()

    async def check() -> bool:
        nonlocal writes
        writes += 1
        await written.wait()
        return True

    health = Health(check)
    asking = [asyncio.create_task(status_of(health)) for _ in range(50)]
    await asyncio.sleep(0)
    asking.pop().cancel()  # a client that is gone takes nothing from the others
    written.set()
    assert await asyncio.gather(*asking) == [200] * 49
    assert await status_of(health) == 200  # and is remembered for a moment
    assert writes == 1
