"""Real processes on one disk: what they acknowledged outlives them, and is stored once."""

import asyncio
import os
import signal
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path

from offhook.arrivals.spool import open_spool
from offhook.errors import StoreUnavailable
from offhook.stores import open_store
from offhook.stores.api import Filter, Record
from testing.commands import is_alive, until
from testing.roles import Site, ended, in_thread, listening, site
from testing.spools import eventually


async def texts(here: Site, numbers: Sequence[int], *, duplicates: int = 0) -> set[str]:
    """Send messages from five people, each after the answer to the person's last.

    Return which were acknowledged.
    """

    async def talk(person: int) -> list[str]:
        sent = [
            await here.simulator.text(f"{n}", from_=f"+1555123000{person}", duplicates=duplicates)
            for n in numbers
        ]
        return [one.sid for one in sent if one.status == 200]

    return {sid for sids in await asyncio.gather(*map(talk, range(5))) for sid in sids}


async def stored(here: Site) -> Sequence[Record]:
    store = open_store(f"sqlite:///{here.store}/offhook.db")
    await store.open()
    try:
        return (await store.find(Filter(limit=10_000)))[::-1]
    finally:
        await store.close()


async def until_stored(here: Site, count: int) -> Sequence[Record]:
    async def enough() -> bool:
        try:
            return here.store.exists() and len(await stored(here)) >= count
        except StoreUnavailable:  # an ingress is making it, and the disk is slow
            return False

    await eventually(enough)
    return await stored(here)


async def spool_is_empty(url: str) -> bool:
    spool = open_spool(url)
    await spool.open()
    try:
        return await spool.count() == 0
    finally:
        await spool.close()


def spoken(records: Sequence[Record]) -> dict[str, list[int]]:
    """Return what each person said, in the order of the store."""
    said = defaultdict(list)
    for record in records:
        form = record.form.decode()
        said[record.sender].append(int(form.partition("Body=")[2].partition("&")[0]))
    return said


async def test_a_killed_ingress_forwards_after_its_restart_once_and_in_order(
    tmp_path: Path,
) -> None:
    spool = f"sqlite:///{tmp_path}/spool.db"
    async with site(tmp_path, OFFHOOK_SPOOL=spool) as here:
        here.store.rmdir()
        with here.ingress("a", "--ingresses", "2") as ingress:
            await listening(ingress)
            assert len(await texts(here, range(10), duplicates=1)) == 50
            os.killpg(ingress.pid, signal.SIGKILL)
        assert not here.store.exists()

        with here.ingress("a", "--ingresses", "2") as ingress:
            await listening(ingress)
            assert len(await texts(here, range(10, 20))) == 50
            here.store.mkdir()
            records = await until_stored(here, 100)
            assert len(await texts(here, range(20, 25))) == 25
            records = await until_stored(here, 125)
            ingress.send(signal.SIGTERM)
            assert await ended(ingress) == 0
        assert all(count == 1 for count in Counter(one.sid for one in records).values())
        assert spoken(records) == {f"+1555123000{person}": list(range(25)) for person in range(5)}

        with here.worker():
            for person in range(5):
                await here.reply(f"+1555123000{person}")


async def test_an_outage_is_told_in_few_words(tmp_path: Path) -> None:
    spool = f"sqlite:///{tmp_path}/spool.db"
    async with site(tmp_path, OFFHOOK_SPOOL=spool) as here:
        here.store.rmdir()
        with here.ingress() as ingress:
            await listening(ingress)
            assert len(await texts(here, range(20))) == 100
            here.store.mkdir()
            await until_stored(here, 100)
            await in_thread(lambda: ingress.wait_for("the store is back"))
            await in_thread(lambda: ingress.wait_for("webhooks were forwarded"))
            told = ingress.output.splitlines()
        assert len(told) < 10, ingress.explain()
        assert sum("webhooks are kept in the spool" in line for line in told) == 1


async def test_two_processes_on_one_spool_keep_the_order_when_the_forwarder_dies(
    tmp_path: Path,
) -> None:
    spool = f"sqlite:///{tmp_path}/spool.db"
    async with site(tmp_path, OFFHOOK_SPOOL=spool) as here:
        here.store.rmdir()
        with here.ingress("a", "--ingresses", "2") as ingress:
            await listening(ingress)
            await in_thread(lambda: until(lambda: len(ingress.children("process.main")) == 2))
            sending = asyncio.create_task(texts(here, range(60)))
            here.store.mkdir()
            for child in ingress.children("process.main ingress"):
                os.kill(child, signal.SIGKILL)
                await in_thread(lambda pid=child: until(lambda: not is_alive(pid)))  # type: ignore[misc]
                await in_thread(
                    lambda: until(lambda: len(ingress.children("process.main ingress")) == 2)
                )
            acknowledged = await sending
            records = await until_stored(here, len(acknowledged))
            await eventually(lambda: spool_is_empty(spool))
            records = await stored(here)
        sids = [one.sid for one in records]
        assert len(acknowledged) > 200
        assert acknowledged <= set(sids)
        assert len(set(sids)) == len(sids)
        assert all(said == sorted(said) for said in spoken(records).values())


async def test_run_takes_messages_without_its_store_and_answers_them_when_it_is_back(
    tmp_path: Path,
) -> None:
    spool = f"sqlite:///{tmp_path}/spool.db"
    async with site(tmp_path, OFFHOOK_SPOOL=spool) as here:
        here.store.rmdir()
        port = here.simulator.webhook_url.split(":")[2].partition("/")[0]
        with here.start("a", "run", "bot:app", "--port", port) as process:
            await listening(process)
            assert (await here.simulator.text("hello")).status == 200
            here.store.mkdir()
            assert (await here.reply()).split()[0] == "hello"
