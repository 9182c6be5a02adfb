"""Real processes on one disk: what they acknowledged outlives them, and is stored once."""

import asyncio
import os
import secrets
import signal
from collections import Counter, defaultdict
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path

import pytest

from offhook.arrivals.file import LogFile, path_of
from offhook.arrivals.record import Arrival, pack
from offhook.arrivals.waiting import spooled
from offhook.core.inbound import Webhook
from offhook.core.keys import Kind
from offhook.stores.api import Filter, Record
from testing.commands import Home, is_alive, until
from testing.postgres import PostgresServer
from testing.roles import Site, ended, in_thread, listening, site
from testing.spools import eventually
from testing.stores import opened


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.create_database(f"processes_{secrets.token_hex(4)}")


def spool_in(path: Path) -> str:
    return f"sqlite:///{path}/spool.db"


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


async def stored(url: str) -> Sequence[Record]:
    async with opened(url) as store:
        return (await store.find(Filter(limit=10_000)))[::-1]


async def until_stored(url: str, count: int) -> Sequence[Record]:
    async def enough() -> bool:
        return len(await stored(url)) >= count

    await eventually(enough)
    return await stored(url)


def spoken(records: Sequence[Record]) -> dict[str, list[int]]:
    """Return what each person said, in the order of the store."""
    said = defaultdict(list)
    for record in records:
        form = record.form.decode()
        said[record.sender].append(int(form.partition("Body=")[2].partition("&")[0]))
    return said


async def test_a_killed_ingress_forwards_after_its_restart_once_and_in_order(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    async with site(tmp_path, OFFHOOK_STORE=url, OFFHOOK_SPOOL=spool_in(tmp_path)) as here:
        await in_thread(lambda: server.stop("immediate"))
        with here.ingress("a", "--ingresses", "2") as ingress:
            await listening(ingress)
            assert len(await texts(here, range(10), duplicates=1)) == 50
            os.killpg(ingress.pid, signal.SIGKILL)

        with here.ingress("a", "--ingresses", "2") as ingress:
            await listening(ingress)
            assert len(await texts(here, range(10, 20))) == 50
            await in_thread(server.start)
            await until_stored(url, 100)
            assert len(await texts(here, range(20, 25))) == 25
            records = await until_stored(url, 125)
            ingress.send(signal.SIGTERM)
            assert await ended(ingress) == 0
        assert all(count == 1 for count in Counter(one.sid for one in records).values())
        assert spoken(records) == {f"+1555123000{person}": list(range(25)) for person in range(5)}

        with here.worker():
            for person in range(5):
                await here.reply(f"+1555123000{person}")


async def test_an_outage_is_told_in_few_words(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    async with site(tmp_path, OFFHOOK_STORE=url, OFFHOOK_SPOOL=spool_in(tmp_path)) as here:
        await in_thread(lambda: server.stop("immediate"))
        with here.ingress() as ingress:
            await listening(ingress)
            assert len(await texts(here, range(20))) == 100
            await in_thread(server.start)
            await until_stored(url, 100)
            await in_thread(lambda: ingress.wait_for("the store is back"))
            await in_thread(lambda: ingress.wait_for("webhooks were forwarded"))
            told = ingress.output.splitlines()
        assert len(told) < 10, ingress.explain()
        assert any("webhooks are kept in the spool" in line for line in told)


async def test_two_processes_on_one_spool_keep_the_order_when_the_forwarder_dies(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    async with site(tmp_path, OFFHOOK_STORE=url, OFFHOOK_SPOOL=spool_in(tmp_path)) as here:
        await in_thread(lambda: server.stop("immediate"))
        with here.ingress("a", "--ingresses", "2") as ingress:
            await listening(ingress)
            await in_thread(lambda: until(lambda: len(ingress.children("process.main")) == 2))
            sending = asyncio.create_task(texts(here, range(60)))
            await in_thread(server.start)
            for child in ingress.children("process.main ingress"):
                os.kill(child, signal.SIGKILL)
                await in_thread(lambda pid=child: until(lambda: not is_alive(pid)))  # type: ignore[misc]
                await in_thread(
                    lambda: until(lambda: len(ingress.children("process.main ingress")) == 2)
                )
            acknowledged = await sending

            async def is_empty() -> bool:
                return await spooled(tmp_path / "spool.db") == 0

            await eventually(is_empty)
            records = await until_stored(url, len(acknowledged))
        sids = [one.sid for one in records]
        assert len(acknowledged) > 200
        assert acknowledged <= set(sids)
        assert len(set(sids)) == len(sids)
        assert all(said == sorted(said) for said in spoken(records).values())


async def test_run_takes_messages_without_its_store_and_answers_them_when_it_is_back(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    async with site(tmp_path, OFFHOOK_STORE=url, OFFHOOK_SPOOL=spool_in(tmp_path)) as here:
        await in_thread(lambda: server.stop("immediate"))
        port = here.simulator.webhook_url.split(":")[2].partition("/")[0]
        with here.start("a", "run", "bot:app", "--port", port) as process:
            await listening(process)
            assert (await here.simulator.text("hello")).status == 200
            await in_thread(server.start)
            assert (await here.reply()).split()[0] == "hello"


async def test_a_command_forwards_what_no_ingress_does(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    """A person is erased from what waits in the spool, and from what was set aside there."""
    environment = {"OFFHOOK_STORE": url, "OFFHOOK_SPOOL": spool_in(tmp_path)}
    async with site(tmp_path, **environment) as here:
        await in_thread(lambda: server.stop("immediate"))
        with here.ingress("a") as ingress:
            await listening(ingress)
            await texts(here, [1])
            os.killpg(ingress.pid, signal.SIGKILL)
        await in_thread(server.start)
        spool = tmp_path / "spool.db"
        assert await spooled(spool) == 5
        with closing(LogFile.open(path_of(spool, 1))) as log:
            unreadable = Webhook(Kind.MESSAGE, b"From=%2B15551230001&Body=secret")
            log.set_aside(pack([Arrival(unreadable, 1)]), "for some reason")
        home = Home(tmp_path / "a", **environment)
        erased = await in_thread(
            lambda: home.run("messages", "erase", "--sender", "+15551230001", "--yes", "--json")
        )
        assert erased.stdout == '{"erased": 2, "busy": 0}\n', erased
        assert await spooled(spool) == 0
    assert spoken(await stored(url)).keys() == {f"+1555123000{n}" for n in (0, 2, 3, 4)}
