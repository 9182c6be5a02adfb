"""The admin process' application, with a real store."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import httpx2

from offhook.admin.service import Admin
from offhook.arrivals.spool import Spool
from offhook.core.lifecycle import Trigger
from offhook.events import Event, Problem
from offhook.observe.shared_counters import SharedCounters
from offhook.settings import Settings
from offhook.stores.api import Settlement
from testing.plain_http import PlainAsyncClient
from testing.stores import claim_one, inbound, opened, webhook

VERSION = "1.2.3"


@asynccontextmanager
async def running(path: Path, told: list[Event]) -> AsyncIterator[Admin]:
    settings = Settings.load(env_file=None, store=f"sqlite:///{path}/offhook.db")
    async with opened(path / "offhook.db"):
        pass  # made by those who need it; the admin process waits for it
    admin = Admin(settings, told.append, version=VERSION, counters={})
    stop = asyncio.Event()
    task = asyncio.create_task(admin.run(stop))
    try:
        async with asyncio.timeout(60):
            while not await ready(admin):  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.01)
        yield admin
    finally:
        stop.set()
        await task


async def ready(admin: Admin) -> bool:
    return (await get(admin, "/readyz")).status_code == 200


async def get(admin: Admin, path: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(admin.asgi)
    async with PlainAsyncClient(transport=transport, base_url="http://admin") as client:
        return await client.get(path)


async def test_a_dead_letter_is_an_alert_until_somebody_sees_to_it(tmp_path: Path) -> None:
    told: list[Event] = []
    async with running(tmp_path, told) as admin:
        await admin.store.accept(inbound("SM1", "lane"))
        claim = await claim_one(admin.store)
        await admin.store.settle(claim, Settlement(Trigger.GIVE_UP, error="ValueError"))
        await looks(admin, 3)
        assert [alert.name for alert in admin.watch.alerts] == ["dead-letters"]
        text = (await get(admin, "/metrics")).text
        assert 'offhook_alert_active{alert="dead-letters",level="warning"} 1.0' in text
        assert 'offhook_disk_used_ratio{what="store"}' in text
        assert f'offhook_build_info{{version="{VERSION}"}} 1.0' in text

        assert await admin.store.replay(claim.id)
        await looks(admin, 20)
        assert admin.watch.alerts == ()
        assert "offhook_alert_active{" not in (await get(admin, "/metrics")).text
    assert [event.resolved for event in told if isinstance(event, Problem)] == [False, True]


async def test_what_waits_in_the_spool_is_counted(tmp_path: Path) -> None:
    writer = Spool(tmp_path / "spool.db", print)
    await writer.open()
    await writer.append(webhook("SM1"))
    away, spool = "postgresql://127.0.0.1:1/away", f"sqlite:///{tmp_path}/spool.db"
    settings = Settings.load(env_file=None, store=away, spool=spool)
    machine = {"ingress-1": SharedCounters.alone().memory}
    for counters, told in ((machine, True), ({}, False)):
        admin = Admin(settings, print, version=VERSION, counters=counters)
        assert ("offhook_spool_messages 1.0" in (await get(admin, "/metrics")).text) is told
    await writer.close()


async def looks(admin: Admin, times: int) -> None:
    """Let five seconds pass for each look, of which nobody has to wait for one."""
    for _ in range(times):
        snapshot = await admin.monitor.snapshot()
        # A test's machine may be busy, which is not what this is about.
        calm = replace(snapshot.host, cpu_busy=0.0, memory=0.0, disks={})
        last = admin.watch.snapshots[-1].at if admin.watch.snapshots else snapshot.at
        admin.watch.consider(replace(snapshot, at=last + 5.0, host=calm))
