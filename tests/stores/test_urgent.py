"""Several processes write one file: whoever is on the phone goes first."""

import asyncio
import sqlite3
import threading
import time
from pathlib import Path
from typing import Final

import pytest

from offhook.stores.sqlite import engine as engines
from offhook.stores.sqlite.engine import YIELDING, Engine
from offhook.stores.sqlite.lock import WriterLock
from offhook.stores.sqlite.schema import migrate
from offhook.stores.sqlite.store import SqliteStore
from testing.stores import inbound

SOON: Final = 20.0  # seconds; for machines that do other things too


def lock_of(database: Path) -> WriterLock:
    lock = WriterLock(database)
    lock.open()
    return lock


def until_wanted(lock: WriterLock) -> None:
    until = time.monotonic() + SOON
    while not lock.is_wanted():
        assert time.monotonic() < until


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let nobody do without the lock."""
    monkeypatch.setattr("offhook.stores.sqlite.lock._TIMEOUT", SOON)


@pytest.mark.parametrize("urgent", [True, False])
@pytest.mark.usefixtures("patient")
def test_who_holds_the_lock_sees_that_somebody_urgent_waits(tmp_path: Path, urgent: bool) -> None:
    ours, theirs = lock_of(tmp_path / "offhook.db"), lock_of(tmp_path / "offhook.db")
    ours.take()
    thread = threading.Thread(target=lambda: theirs.take(urgent=urgent))
    thread.start()
    if urgent:
        until_wanted(ours)
    else:
        assert not ours.is_wanted()
    ours.release()
    thread.join()
    assert not ours.is_wanted()
    assert not ours.try_take()
    theirs.close()
    ours.close()


async def keep_waiting(engine: Engine) -> float:
    """Let a write of this engine's hold up another process' webhook; return when it was written."""
    theirs = lock_of(engine.path)

    def work(_connection: sqlite3.Connection, _now: int) -> tuple[threading.Thread, float]:
        thread = threading.Thread(target=lambda: theirs.take(urgent=True))
        thread.start()
        until_wanted(ours)
        return thread, time.monotonic()

    ours = lock_of(engine.path)
    thread, written = await engine.write(work)
    await asyncio.to_thread(thread.join)
    theirs.close()
    ours.close()
    return written


@pytest.mark.usefixtures("patient")
async def test_who_kept_a_webhook_waiting_leaves_the_file_to_webhooks_for_a_while(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_LEAVE_AT_MOST", 0.2)
    monkeypatch.setattr(engines, "_LEAVE", 1e9)

    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)
    try:
        written = await keep_waiting(engine)
        assert await engine.write(lambda *_: time.monotonic()) - written >= 0.2
    finally:
        await engine.close()


@pytest.mark.usefixtures("patient")
async def test_a_webhook_does_not_wait_for_that(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(engines, "_LEAVE_AT_MOST", 3600.0)
    monkeypatch.setattr(engines, "_LEAVE", 1e9)

    engine = Engine(tmp_path / "offhook.db")
    await engine.open(migrate)
    try:
        await keep_waiting(engine)
        async with asyncio.timeout(SOON):
            assert await engine.accept(inbound("SM1"))
    finally:
        await engine.close()


@pytest.mark.usefixtures("patient")
async def test_a_worker_that_kept_a_webhook_waiting_claims_less_at_once(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "offhook.db")
    await store.open()
    try:
        for number in range(YIELDING + 1):
            await store.accept(inbound(f"SM{number}", f"lane {number}"))
        await keep_waiting(store._engine)
        first = await store.claim(100, lease=30.0, owner="w", alone=False)
        assert len(first.claims) == YIELDING
        assert first.next_due == 0.0
        second = await store.claim(100, lease=30.0, owner="w", alone=False)
        assert len(second.claims) == 1
    finally:
        await store.close()
