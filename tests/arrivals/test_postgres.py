"""A real PostgreSQL that is stopped, cut off, and whose answers are lost.

Every webhook is acknowledged all the same, and stored once.
"""

import asyncio
import resource
import secrets
import signal
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.file import LogFile, logs_of
from offhook.arrivals.record import unpack
from offhook.arrivals.spool import Spool
from offhook.arrivals.spooled import SpooledStore
from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.errors import StoreUnavailable
from offhook.events import Event, Problem, Sorted, Topic
from offhook.stores import open_store
from offhook.stores.api import Filter, Record, Store
from testing.postgres import PostgresServer
from testing.proxy import Proxy
from testing.roles import ended, in_thread, listening, site, working
from testing.spools import PATIENCE, eventually, sids
from testing.stores import inbound, webhook

LANES = [f"lane{n}" for n in range(7)]
EVERYTHING = [webhook(f"SM{n:03}", LANES[n % 7]) for n in range(90)]


@pytest.fixture
def url(server: PostgresServer) -> str:
    return server.create_database(f"spool_{secrets.token_hex(4)}")


class Ingress:
    """One process' way to a store, over a network that can be cut."""

    def __init__(self, path: Path, url: str, proxy: Proxy, patience: float) -> None:
        self.url = url
        self.proxy = proxy
        self.problems: list[Problem] = []
        self.store = Breaker(lambda: open_store(proxy.url), self._observe, patience=patience)
        self.spool = Spool(path / "spool.db", self._observe)
        self.entrance = SpooledStore(self.store, self.spool, self._observe, patience=0.5)

    def _observe(self, event: Event) -> None:
        if not isinstance(event, Sorted):
            assert isinstance(event, Problem)
            self.problems.append(event)

    async def accept(self, *webhooks: Webhook) -> list[bool]:
        """Accept webhooks, each when the one before is acknowledged."""
        return [await self.entrance.accept(one) for one in webhooks]

    async def forwarded(self) -> Sequence[Record]:
        """Wait until the spool is empty; return what the store has, in its order.

        On a busy machine there may be more outages than the one that is made.
        """

        def is_empty() -> bool:
            told = [one.resolved for one in self.problems if one.topic is Topic.SPOOL]
            return self.spool.is_empty() and told[-1:] == [True]

        await eventually(is_empty)
        return await stored(self.url)


@asynccontextmanager
async def ingress(path: Path, url: str, *, patience: float = PATIENCE) -> AsyncIterator[Ingress]:
    """Be an ingress that has found its store.

    Only where nothing says that the network is cut does it need a patience that comes to an end.
    """
    async with Proxy(url).serve() as proxy:
        one = Ingress(path, url, proxy, patience)
        await one.entrance.open()
        try:
            await eventually(lambda: one.store.up)
            yield one
        finally:
            await one.entrance.close()


@asynccontextmanager
async def opened(url: str) -> AsyncIterator[Store]:
    store = open_store(url)
    await store.open()
    try:
        yield store
    finally:
        await store.close()


async def stored(url: str) -> Sequence[Record]:
    async with opened(url) as store:
        return (await store.find(Filter(limit=10_000)))[::-1]


def check(records: Sequence[Record], expected: Sequence[Webhook]) -> None:
    """Each is there once, in its lane's order."""
    assert sorted(sids(records)) == sorted(Inbound.of(one).sid for one in expected)
    for lane in LANES:
        assert sids(records, lane) == sorted(sids(records, lane)) != []


async def test_a_server_that_is_killed_and_comes_back(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    async with ingress(tmp_path, url) as here:
        await here.accept(*EVERYTHING[:30])
        await asyncio.to_thread(server.stop, "immediate")
        assert all(await here.accept(*EVERYTHING[30:60]))
        # Twilio delivers one of them once more.
        await here.accept(EVERYTHING[45])
        await asyncio.to_thread(server.start)
        await here.accept(*EVERYTHING[60:])
        check(await here.forwarded(), EVERYTHING)


async def test_a_network_that_is_cut(tmp_path: Path, url: str) -> None:
    async with ingress(tmp_path, url) as here:
        await here.accept(*EVERYTHING[:30])
        here.proxy.cut()
        await here.accept(*EVERYTHING[30:60])
        here.proxy.mend()
        await here.accept(*EVERYTHING[60:])
        check(await here.forwarded(), EVERYTHING)


async def test_a_network_in_which_everything_vanishes_and_arrives_late(
    tmp_path: Path, url: str
) -> None:
    async with ingress(tmp_path, url, patience=1.0) as here:
        await here.accept(*EVERYTHING[:30])
        here.proxy.partition()
        await here.accept(*EVERYTHING[30:60])
        assert any("does not answer in time" in one.text for one in here.problems)
        here.proxy.mend()
        await here.accept(*EVERYTHING[60:])
        check(await here.forwarded(), EVERYTHING)


async def test_a_commit_whose_answer_is_lost_is_stored_once(tmp_path: Path, url: str) -> None:
    async with ingress(tmp_path, url) as here:
        await here.accept(webhook("SM1"))
        here.proxy.lose_answer_to(b"SM2")
        assert await here.accept(webhook("SM2")) == [True]
        assert here.proxy.swallowed.is_set()
        assert sids(await stored(url)) == ["SM1", "SM2"], "it was committed before it was lost"
        here.proxy.mend()
        await here.accept(webhook("SM3"))
        records = await here.forwarded()
        assert sids(records) == ["SM1", "SM2", "SM3"]
        await eventually(lambda: any("of which it had" in one.text for one in here.problems))


# As PostgreSQL refuses what its types or its indexes can't hold, and what a column may not.
BY_A_TRIGGER = (
    "CREATE FUNCTION offhook.refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
    "IF NEW.sid = 'SM040' THEN RAISE EXCEPTION 'too long' USING ERRCODE = '54000'; END IF; "
    "RETURN NEW; END $$; "
    "CREATE TRIGGER refuse BEFORE INSERT ON offhook.messages "
    "FOR EACH ROW EXECUTE FUNCTION offhook.refuse()"
)
SECRET = "a-word-that-nobody-else-writes"
BY_A_CONSTRAINT = "ALTER TABLE offhook.messages ADD CHECK (sid <> 'SM040')"


@pytest.mark.parametrize(
    "refusal", [BY_A_TRIGGER, BY_A_CONSTRAINT], ids=["by a trigger", "by a constraint"]
)
async def test_what_the_server_refuses_is_set_aside_and_stops_nothing(
    tmp_path: Path, server: PostgresServer, url: str, refusal: str
) -> None:
    async with ingress(tmp_path, url) as here:
        server.execute(refusal, database=url.rpartition("/")[2])
        here.proxy.cut()
        refused = webhook("SM040", LANES[5], Body=SECRET)
        await here.accept(*EVERYTHING[:40], refused, *EVERYTHING[41:])
        here.proxy.mend()
        records = await here.forwarded()
        assert sids(records) == [f"SM{n:03}" for n in range(90) if n != 40]
    (told,) = [one.text for one in here.problems if one.topic is Topic.ARRIVALS]
    assert told.startswith("'SM040' was set aside in ")
    assert SECRET not in told
    (log,) = [LogFile.open(path) for path in logs_of(tmp_path / "spool.db")]
    kept = [one.webhook for _, batch in log.all_set_aside() for one in unpack(batch)]
    log.close()
    assert kept == [refused]


async def test_a_full_disk_stops_no_forwarding(tmp_path: Path, url: str) -> None:
    """Deleting what was forwarded needs room too."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    everything = [webhook(f"SM{n:03}", LANES[n % 7], Body="x" * 500) for n in range(600)]
    async with ingress(tmp_path, url) as here:
        here.proxy.cut()
        await here.accept(*everything)
        await here.spool.tidy()
        (log,) = logs_of(tmp_path / "spool.db")
        resource.setrlimit(resource.RLIMIT_FSIZE, (log.stat().st_size, hard))
        try:
            here.proxy.mend()
            check(await here.forwarded(), everything)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


async def test_without_a_spool_a_lost_answer_is_a_refusal_and_the_repeat_a_repeat(url: str) -> None:
    async with Proxy(url).serve() as proxy, opened(proxy.url) as store:
        await store.accept(inbound("SM1"))
        proxy.lose_answer_to(b"SM2")
        with pytest.raises(StoreUnavailable):
            await store.accept(inbound("SM2"))
        assert proxy.swallowed.is_set()
        proxy.mend()
        assert await store.accept(inbound("SM2")) is False
        assert sids(await stored(url)) == ["SM1", "SM2"]


async def test_conversations_go_on_in_order_through_an_outage(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    async with site(
        tmp_path,
        OFFHOOK_STORE=url,
        OFFHOOK_SPOOL=f"sqlite:///{tmp_path}/spool.db",
        OFFHOOK_LOOP_LIMIT="1000/minute",  # they talk fast
    ) as here:
        with here.ingress("a", "--ingresses", "2") as one, here.worker("b") as worker:
            await listening(one)
            await working(worker)

            async def talk(person: int) -> list[int]:
                return [
                    (await here.simulator.text(f"{n}", from_=f"+1555123000{person}")).status
                    for n in range(30)
                ]

            talking = asyncio.gather(*map(talk, range(5)))
            await here.reply()
            await in_thread(lambda: server.stop("immediate"))
            assert await talking == [[200] * 30] * 5
            await in_thread(server.start)
            await eventually(lambda: len(here.simulator.sent) == 150)
            for person in range(5):
                replies = [s for s in here.simulator.sent if s.to == f"+1555123000{person}"]
                said = [int(reply.body.split()[0]) for reply in replies]
                assert said == list(range(30))
            for process in (one, worker):
                process.send(signal.SIGTERM)
                assert await ended(process) == 0


async def test_an_ingress_starts_without_its_server_and_says_why(
    tmp_path: Path, server: PostgresServer, url: str
) -> None:
    server.stop("immediate")
    try:
        spool = f"sqlite:///{tmp_path}/spool.db"
        async with site(tmp_path, OFFHOOK_STORE=url, OFFHOOK_SPOOL=spool) as here:
            with here.ingress("a") as one:
                await listening(one)
                assert (await here.simulator.text("one")).status == 200
                await in_thread(lambda: one.wait_for("it can't be reached"))
                assert "PostgreSQL at 127.0.0.1" in one.output
                await in_thread(server.start)
                await in_thread(lambda: one.wait_for("were forwarded"))
                one.send(signal.SIGTERM)
                assert await ended(one) == 0
        assert len(await stored(url)) == 1
    finally:
        server.stop()
        server.start()


async def test_an_ingress_whose_answer_is_lost_stores_once_and_spools(
    tmp_path: Path, url: str
) -> None:
    spool = f"sqlite:///{tmp_path}/spool.db"
    async with (
        Proxy(url).serve() as proxy,
        site(tmp_path, OFFHOOK_STORE=proxy.url, OFFHOOK_SPOOL=spool) as here,
    ):
        with here.ingress() as machine, here.worker(OFFHOOK_STORE=url, OFFHOOK_SPOOL=""):
            await listening(machine)
            assert (await here.simulator.text("first")).status == 200
            await here.reply()
            proxy.lose_answer_to(b"vanishing")
            assert (await here.simulator.text("vanishing")).status == 200
            await eventually(proxy.swallowed.is_set)  # it may have been given up before that
            await eventually(lambda: len(here.simulator.sent) == 2)  # it was committed
            proxy.mend()
            assert (await here.simulator.text("last")).status == 200
            await eventually(lambda: len(here.simulator.sent) == 3)
            await in_thread(lambda: machine.wait_for("of which it had"))
            said = [reply.body.split()[0] for reply in here.simulator.sent]
            assert said == ["first", "vanishing", "last"]
            assert len(await stored_messages(url)) == 3


SIDS = ("MessageSid", "SmsMessageSid", "SmsSid")


async def test_an_ingress_without_a_spool_refuses_then_and_knows_the_repeat(
    tmp_path: Path, url: str
) -> None:
    environment = {"OFFHOOK_ENQUEUE_TIMEOUT": "60"}  # it is not given up before that
    async with (
        Proxy(url).serve() as proxy,
        site(tmp_path, OFFHOOK_STORE=proxy.url, **environment) as here,
    ):
        with here.ingress() as machine:
            await listening(machine)
            sid = "SM" + "1" * 32
            proxy.lose_answer_to(b"vanishing")
            lost = await here.simulator.text("vanishing", extra=dict.fromkeys(SIDS, sid))
            assert lost.status == 503
            assert proxy.swallowed.is_set()
            proxy.mend()
            again = await here.simulator.text("vanishing", extra=dict.fromkeys(SIDS, sid))
            assert again.status == 200
            assert sids(await stored_messages(url)) == [sid]


async def stored_messages(url: str) -> Sequence[Record]:
    """Return what people have written, without the statuses of what was sent to them."""
    return [record for record in await stored(url) if record.kind is Kind.MESSAGE]
