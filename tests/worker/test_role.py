import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from offhook.core.lifecycle import State
from offhook.core.send_reference import referred_send
from offhook.errors import ConfigurationError
from offhook.events import Event, Problem, Topic
from offhook.settings import Settings
from offhook.stores import store_of
from offhook.worker import role as worker_role
from offhook.worker.handlers import Handlers
from offhook.worker.role import WorkerRole, status_callback
from offhook.worker.service import Worker
from testing.spools import locked
from testing.stores import inbound


def test_a_status_callback_names_its_send_and_is_repeated_by_twilio() -> None:
    settings = Settings.load(
        env_file=None,
        public_url="https://bot.example.com",
        mount_path="/hooks",
        auth_token="token",
    )
    callback = status_callback(settings)
    assert callback is not None
    base, _, rest = callback(7, "AC1").partition("?send=")
    reference, _, overrides = rest.partition("#")
    assert base == "https://bot.example.com/hooks/twilio/status"
    assert overrides == "rc=5&rp=5xx,ct,rt"
    assert referred_send(reference, "AC1", ["another", "token"]) == 7


def test_without_a_public_url_there_are_no_status_callbacks() -> None:
    assert status_callback(Settings.load(env_file=None, public_url="")) is None


async def test_a_proxy_that_can_not_be_used_is_named_before_the_store_is_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("https_proxy", "socks5://127.0.0.1:1080")
    settings = Settings.load(
        env_file=None, account_sid="AC" + "0" * 32, auth_token="t",
        store=f"sqlite:///{tmp_path}/offhook.db",
    )  # fmt: skip
    role = WorkerRole(settings, Handlers(), lambda _event: None, owner="w")
    with pytest.raises(ConfigurationError, match="is a socks5 proxy"):
        await role.run(asyncio.Event())
    assert [*tmp_path.iterdir()] == []


async def test_an_inline_worker_that_fails_begins_again_under_another_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody supervises it: a worker that ended would leave messages to nobody, without a word."""
    owners: list[str] = []
    begins = asyncio.Event()

    class Fragile(Worker):
        def __init__(self, *args: Any, owner: str, **options: Any) -> None:
            super().__init__(*args, owner=owner, **options)
            owners.append(owner)

        async def run(self) -> None:
            if len(owners) == 1:
                raise RuntimeError("what nobody has thought of")
            begins.set()
            await super().run()

    monkeypatch.setattr(worker_role, "Worker", Fragile)
    settings = Settings.load(
        env_file=None, account_sid="AC" + "0" * 32, auth_token="t",
        store=f"sqlite:///{tmp_path}/offhook.db",
    )  # fmt: skip
    told: list[Event] = []

    stop = asyncio.Event()
    role = WorkerRole(settings, Handlers(), told.append, owner="first")
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(role.run_for_ever(stop))
        await begins.wait()
        stop.set()
    assert owners[0] == "first"
    assert len(set(owners)) == 2
    assert told == [Problem(Topic.WORKER_FAILED, "the worker is restarted: RuntimeError")]


async def test_a_store_that_was_replaced_under_an_inline_worker_is_back_when_the_next_has_it(
    tmp_path: Path,
) -> None:
    """The worker that has found it broken has ended: its alert would last for ever."""
    path = tmp_path / "offhook.db"
    settings = Settings.load(
        env_file=None, account_sid="AC" + "0" * 32, auth_token="t", store=f"sqlite:///{path}"
    )
    broken = asyncio.Queue[bool]()

    def tell(event: Event) -> None:
        if isinstance(event, Problem) and event.topic is Topic.STORE_BROKEN:
            broken.put_nowait(not event.resolved)

    stop = asyncio.Event()
    store = store_of(settings)
    await store.open()
    role = WorkerRole(settings, Handlers(), tell, owner="first", create_store=False)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        group.create_task(role.run_for_ever(stop))
        await store.accept(inbound("SM1"))
        while (await store.counts()).messages[State.OPEN]:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.01)
        await store.close()
        with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(f"{path}2")) as new:
            old.backup(new)
        Path(f"{path}2").replace(path)
        while await broken.get():
            pass
        stop.set()


async def test_a_worker_is_ready_once_it_has_claimed(tmp_path: Path) -> None:
    """Opening takes no lock; while another has it, nothing can be claimed."""
    settings = Settings.load(
        env_file=None, account_sid="AC" + "0" * 32, auth_token="t",
        store=f"sqlite:///{tmp_path}/offhook.db",
    )  # fmt: skip
    store = store_of(settings)
    await store.open()
    await store.close()
    told: list[str] = []
    waits, ready, stop = asyncio.Event(), asyncio.Event(), asyncio.Event()

    def tell(event: Event) -> None:
        if isinstance(event, Problem) and event.text.startswith("messages are not handled"):
            told.append("waits")
            waits.set()

    def is_ready() -> None:
        told.append("is ready")
        ready.set()

    role = WorkerRole(settings, Handlers(), tell, owner="first", on_ready=is_ready)
    async with asyncio.timeout(60), asyncio.TaskGroup() as group:
        with locked(tmp_path / "offhook.db"):
            group.create_task(role.run(stop))
            await waits.wait()
            assert "is ready" not in told
        await ready.wait()
        stop.set()
    assert told.count("is ready") == 1
