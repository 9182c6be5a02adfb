"""What a worker had claimed when it was killed is claimed again within seconds, not a lease.

Where nothing must happen to one worker, another is killed beside it: what happens to that one shows
that it was looked for long enough.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from itertools import count
from pathlib import Path

import asyncpg
import pytest

from offhook.concurrency import wait_for_event
from offhook.errors import StoreDenied, StoreUnavailable
from offhook.events import Event, Problem, Topic
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.stores.api import Store
from offhook.stores.postgres import privileges
from offhook.stores.postgres.presence import Ended, Presence
from offhook.stores.sqlite.presence import folder_of
from offhook.worker import takeover
from offhook.worker.handlers import Handlers
from offhook.worker.message import Message
from offhook.worker.role import WorkerRole
from offhook.worker.takeover import Takeover
from testing.postgres import PostgresServer
from testing.proxy import Proxy
from testing.stores import claim, inbound, opened
from tests.stores.pgbouncer import pgbouncer

LEASE = 3600.0
LOCKS = 0x6F66_666B  # "offk"
TAKES_OVER_AGAIN = "messages of dead workers are released again"
_NUMBERS = count(1)

WORKER = f"""
import asyncio, sys
from offhook.errors import LeaseLost
from offhook.stores import open_store
from offhook.worker.takeover import Takeover
from testing.stores import DONE, claim, draft

async def main():
    url, direct, owner, joins = sys.argv[1:]
    store = open_store(url, direct=direct, timeout=2.0)
    await store.open()
    if joins:
        await store.join(owner)
        looking = asyncio.create_task(Takeover(store, lambda _: None).run())
    claims = await claim(store, lease={LEASE}, owner=owner)
    print(len(claims), flush=True)
    await asyncio.to_thread(sys.stdin.readline)
    for write in (store.write(claims[0], [draft()]), store.settle(claims[0], DONE)):
        try:
            await write
        except LeaseLost:
            print("refused", flush=True)
        else:
            print("written", flush=True)
    await asyncio.sleep(3600)

asyncio.run(main())
"""


class Worker:
    """A worker that is a process, and has claimed all there was."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def kill(self) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def write_and_settle(self) -> list[str]:
        """Have it write a reply, and settle what it has; return what came of it."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"\n")
        return [await self.line(), await self.line()]

    async def line(self) -> str:
        assert self._process.stdout is not None
        async with asyncio.timeout(60):
            return (await self._process.stdout.readline()).decode().strip()


class Machine:
    """A store, and workers that are processes."""

    def __init__(self, url: str) -> None:
        self.url = url

    @asynccontextmanager
    async def worker(
        self, owner: str, *, url: str = "", direct: str = "", joins: bool = True
    ) -> AsyncIterator[Worker]:
        """Run a worker. If it can join, it has done so before it claimed: it may be killed now."""
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-c", WORKER, url or self.url, direct, owner, "yes" if joins else ""),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
        )
        worker = Worker(process)
        try:
            assert int(await worker.line()) > 0
            yield worker
        finally:
            await worker.kill()

    async def traces(self) -> int:
        """Count what workers have left behind."""
        folder = folder_of(Path(self.url.removeprefix("sqlite:///")))
        return len(list(folder.iterdir()))


class Cluster(Machine):
    """A store in PostgreSQL, whose sessions can be seen and ended."""

    def __init__(self, server: PostgresServer) -> None:
        self.name = f"takeover_{next(_NUMBERS)}"
        self.server = server
        super().__init__(server.create_database(self.name))

    async def until_joined(self, owner: str, *, key: str = "") -> None:
        """Wait until a worker holds a lock, and another than that of a key."""
        async with asyncio.timeout(60):
            while True:
                with suppress(RuntimeError):  # the server was stopped by the test
                    if await self.key(owner) not in {"", key}:
                        return
                await asyncio.sleep(0.05)

    async def key(self, owner: str) -> str:
        """Return the key of a worker's lock; empty if it has none that it holds."""
        return await self.run(f"SELECT key FROM offhook.workers JOIN {self._held(owner)}")

    async def cut_off(self, owner: str) -> None:
        """End the session that holds a worker's lock."""
        ended = (
            f"SELECT pg_terminate_backend(pid, 60000) FROM offhook.workers JOIN {self._held(owner)}"
        )
        assert await self.run(ended) == "t"

    async def traces(self) -> int:
        return int(await self.run("SELECT count(*) FROM offhook.workers"))

    async def run(self, statement: str) -> str:
        found = await asyncio.to_thread(self.server.execute, statement, database=self.name)
        return found.strip()

    async def limited(self) -> str:
        """Make a role that may not use the table; return the URL with it."""
        role = f"limited_{self.name}"
        await self.run(
            f"CREATE ROLE {role} LOGIN PASSWORD 'limited'; "
            f"GRANT USAGE ON SCHEMA offhook TO {role}; "
            f"GRANT ALL ON ALL TABLES IN SCHEMA offhook TO {role}; "
            f"GRANT ALL ON ALL SEQUENCES IN SCHEMA offhook TO {role}; "
            f"REVOKE ALL ON offhook.workers FROM {role}"
        )
        return f"postgresql://{role}:limited@{self.url.rpartition('@')[2]}"

    async def grant(self, told: str) -> None:
        """Grant what a report says."""
        await self.run(f"GRANT {told.partition('GRANT ')[2]}")

    def refusals(self) -> int:
        """Count the errors in the server's log that come from the missing privileges."""
        denied = "permission denied for table workers"
        lines = self.server.log_text().splitlines()
        return sum(denied in line for line in lines)

    def _held(self, owner: str) -> str:
        return (
            "pg_locks ON objid = (key::bigint & 4294967295)::oid AND locktype = 'advisory' "
            f"AND classid = {LOCKS} AND objsubid = 2 AND database = "
            "(SELECT oid FROM pg_database WHERE datname = current_database()) "
            f"WHERE owner = '{owner}'"
        )


@pytest.fixture
def cluster(server: PostgresServer) -> Cluster:
    return Cluster(server)


@pytest.fixture(params=["sqlite", "postgresql"])
def machine(request: pytest.FixtureRequest, tmp_path: Path) -> Machine:
    if request.param == "sqlite":
        return Machine(f"sqlite:///{tmp_path}/offhook.db")
    found: Cluster = request.getfixturevalue("cluster")
    return found


async def released(store: Store, at_least: int = 1) -> int:
    """Look for dead workers until so many leases have been released; return how many were."""
    found = 0
    async with asyncio.timeout(60):
        while found < at_least:
            await asyncio.sleep(0.05)
            found += await store.release_dead()
    return found


async def freed(store: Store) -> list[str]:
    """Look for dead workers until there is something to claim; return what."""
    async with asyncio.timeout(60):
        while not (claims := await claim(store)):
            await asyncio.sleep(0.05)
            with suppress(StoreUnavailable):  # the server was stopped by the test
                await store.release_dead()
    return [one.sid for one in claims]


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


# Both stores


async def test_what_a_killed_worker_had_is_claimed_again(machine: Machine) -> None:
    async with opened(machine.url) as store:
        for number in range(3):
            await store.accept(inbound(f"SM{number}", f"lane{number}"))
        async with machine.worker("killed") as worker:
            await worker.kill()
        assert await released(store) == 3
        assert len(await claim(store)) == 3
        assert await machine.traces() == 0


@pytest.mark.parametrize("stopped", [False, True])
async def test_one_that_lives_keeps_what_it_has(machine: Machine, stopped: bool) -> None:
    async with opened(machine.url) as store:
        await store.accept(inbound("SM1", "one"))
        async with machine.worker("alive") as alive:
            await store.accept(inbound("SM2", "two"))
            async with machine.worker("killed") as killed:
                if stopped:
                    alive.send(signal.SIGSTOP)
                await killed.kill()
            assert await freed(store) == ["SM2"]
        assert await freed(store) == ["SM1"]


async def test_it_looks_at_once_and_again_and_again(machine: Machine) -> None:
    async with opened(machine.url) as store:
        await store.accept(inbound("SM1"))
        taking = Takeover(store, lambda _: None)
        running = asyncio.create_task(taking.run())
        async with machine.worker("killed") as worker:
            await worker.kill()
        async with asyncio.timeout(60):
            while not await claim(store):  # noqa: ASYNC110 - another task releases it
                await asyncio.sleep(0.05)
        taking.stop()
        await running


async def test_one_that_ends_leaves_nothing_behind(machine: Machine) -> None:
    async with opened(machine.url) as one, opened(machine.url) as other:
        for store, owner in ((one, "one"), (other, "other")):
            await store.join(owner)
        assert await machine.traces() == 2
        assert await one.release_dead() == await other.release_dead() == 0
        await one.leave()
        await one.leave()
        await other.leave()
        assert await machine.traces() == 0


async def test_one_that_leaves_while_it_joins_leaves_nothing_behind(cluster: Cluster) -> None:
    async with opened(cluster.url):
        other, session = [await asyncpg.connect(cluster.url) for _ in range(2)]
        presence = Presence()
        presence.join("brief")
        async with other.transaction(), asyncio.timeout(60):
            await other.execute("LOCK TABLE offhook.workers")
            joining = asyncio.create_task(presence.attend(session))
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted AND pid = $1)"
            while not await other.fetchval(waits, session.get_server_pid()):  # noqa: ASYNC110 - another session waits
                await asyncio.sleep(0.01)
            assert presence.leave().owner == "brief"
        await joining
        assert await cluster.traces() == 0
        await other.close()
        await session.close()


async def test_a_worker_claims_only_once_it_holds_its_lock(cluster: Cluster) -> None:
    """Killed before, it would have left a lease that nobody can know to be a dead worker's."""
    settings = Settings.load(
        env_file=None, account_sid="AC" + "0" * 32, auth_token="t", store=cluster.url
    )
    began, stop, handlers = asyncio.Event(), asyncio.Event(), Handlers()

    async def handle(_: Message) -> None:
        began.set()

    handlers.add_message(handle)
    role = WorkerRole(settings, handlers, lambda _: None, owner="patient")
    async with opened(cluster.url) as store, asyncio.timeout(60), asyncio.TaskGroup() as group:
        await store.accept(inbound("SM1"))
        other = await asyncpg.connect(cluster.url)
        async with other.transaction():
            await other.execute("LOCK TABLE offhook.workers IN SHARE MODE")
            group.create_task(role.run(stop))
            waits = "SELECT EXISTS (SELECT FROM pg_locks WHERE NOT granted)"
            while not await other.fetchval(waits):  # noqa: ASYNC110 - another session waits
                await asyncio.sleep(0.01)
            assert not await wait_for_event(began, 0.5)
        await began.wait()
        assert await cluster.key("patient")
        stop.set()
        await other.close()


# Files


def test_processes_that_name_the_store_by_different_links_look_into_one_folder(
    tmp_path: Path,
) -> None:
    database = tmp_path / "offhook.db"
    database.touch()
    link = tmp_path / "elsewhere" / "link.db"
    link.parent.mkdir()
    link.symlink_to(database)
    assert folder_of(link) == folder_of(database) == tmp_path / "offhook.db-workers"


async def test_a_file_that_is_being_made_is_left_alone(tmp_path: Path) -> None:
    folder = folder_of(tmp_path / "offhook.db")
    folder.mkdir()
    (folder / "new").touch()
    async with opened(tmp_path / "offhook.db") as store:
        assert await store.release_dead() == 0
    assert (folder / "new").exists()


async def test_where_no_file_can_be_made_leases_run_out(tmp_path: Path) -> None:
    folder_of(tmp_path / "offhook.db").write_text("not a folder")
    async with opened(tmp_path / "offhook.db") as store:
        await store.join("one")
        assert await store.release_dead() == 0
        await store.leave()


# Locks


async def test_one_whose_session_alone_was_cut_off_holds_another_lock_and_its_leases(
    cluster: Cluster,
) -> None:
    async with opened(cluster.url) as store:
        await store.accept(inbound("SM1", "one"))
        async with cluster.worker("alive"):
            await store.accept(inbound("SM2", "two"))
            async with cluster.worker("killed") as killed:
                key = await cluster.key("alive")
                looking = asyncio.create_task(freed(store))
                await cluster.cut_off("alive")
                await killed.kill()
            assert await looking == ["SM2"]
            await cluster.until_joined("alive", key=key)
        assert await freed(store) == ["SM1"]  # now that it is dead


async def test_one_that_was_taken_over_while_it_lived_can_neither_settle_nor_send(
    cluster: Cluster,
) -> None:
    """Invariant: in the worst case, a message is handled again, but settled once."""
    async with opened(cluster.url) as store:
        await store.accept(inbound("SM1"))
        async with cluster.worker("stopped") as worker:
            worker.send(signal.SIGSTOP)
            await cluster.cut_off("stopped")
            assert await released(store) == 1
            (again,) = await claim(store)
            worker.send(signal.SIGCONT)
            await cluster.until_joined("stopped")
            assert await worker.write_and_settle() == ["refused", "refused"]
            history = await store.show(again.id)
            assert history is not None
            assert history.sends == ()


@pytest.mark.parametrize("end", ["fast", "immediate", "a process was killed"])
async def test_when_the_server_was_stopped_nobody_is_taken_for_dead(
    server: PostgresServer, cluster: Cluster, end: str
) -> None:
    """All locks are gone, of those that live and of those that died just then."""
    async with opened(cluster.url) as store:
        await store.accept(inbound("SM1", "one"))
        async with cluster.worker("alive") as alive:
            key = await cluster.key("alive")
            await store.accept(inbound("SM2", "two"))
            async with cluster.worker("killed") as killed:
                await killed.kill()
                match end:
                    case "fast" | "immediate":
                        await asyncio.to_thread(server.stop, end)
                        await asyncio.to_thread(server.start)
                    case _:  # the server ends all others, and goes on as the same
                        victim = await asyncpg.connect(server.url)
                        os.kill(victim.get_server_pid(), signal.SIGKILL)
                        victim.terminate()
            await cluster.until_joined("alive", key=key)
            await alive.kill()
        assert await freed(store) == ["SM1"]
        assert await cluster.traces() == 0


async def test_a_lock_from_before_the_server_was_started_is_forgotten(cluster: Cluster) -> None:
    async with opened(cluster.url) as store:
        await store.accept(inbound("SM1", "one"))
        async with cluster.worker("earlier") as earlier:
            await store.accept(inbound("SM2", "two"))
            async with cluster.worker("killed") as killed:
                await cluster.run(
                    "UPDATE offhook.workers SET server = server - interval '1 s' "
                    "WHERE owner = 'earlier'"
                )
                await earlier.kill()
                await killed.kill()
        assert await freed(store) == ["SM2"]
        assert await cluster.traces() == 1
        await store.join("next")
        assert await cluster.traces() == 1


async def test_the_server_notices_that_a_machine_has_vanished_before_most_leases_end(
    cluster: Cluster,
) -> None:
    presence = Presence()
    presence.join("own")
    async with opened(cluster.url):
        session = await asyncpg.connect(cluster.url)
        await presence.attend(session)
        idle, interval, count, unanswered = [
            int(await session.fetchval("SELECT setting FROM pg_settings WHERE name = $1", name))
            for name in (
                "tcp_keepalives_idle",
                "tcp_keepalives_interval",
                "tcp_keepalives_count",
                "tcp_user_timeout",
            )
        ]
        assert idle + interval * count == unanswered / 1000 == 20
        await session.close()


async def test_one_of_a_version_that_holds_no_lock_is_never_taken_for_dead(
    cluster: Cluster,
) -> None:
    async with opened(cluster.url) as store:
        await store.accept(inbound("SM1", "one"))
        async with cluster.worker("old", joins=False) as old:
            # It has claimed while there was no table of workers.
            await cluster.run(
                "DROP TABLE offhook.workers; DELETE FROM offhook.migrations WHERE version >= 5"
            )
            async with opened(cluster.url):
                await store.accept(inbound("SM2", "two"))
            async with cluster.worker("new") as new:
                await old.kill()
                await new.kill()
        assert await freed(store) == ["SM2"]


async def test_locks_of_others_are_no_matter(server: PostgresServer, cluster: Cluster) -> None:
    async with opened(cluster.url) as store:
        await store.accept(inbound("SM1"))
        async with cluster.worker("killed") as worker:
            key = await cluster.key("killed")
            ours, elsewhere = [await asyncpg.connect(url) for url in (cluster.url, server.url)]
            await elsewhere.execute(f"SELECT pg_advisory_lock({LOCKS}, {key})")
            await ours.execute(f"SELECT pg_advisory_lock({LOCKS - 1}, {key})")
            await ours.execute(f"SELECT pg_advisory_lock(({LOCKS}::bigint << 32) | {key}::bigint)")
            await worker.kill()
        assert await released(store) == 1
        await ours.close()
        await elsewhere.close()


async def test_behind_a_pooler_only_one_with_a_way_past_it_holds_a_lock(cluster: Cluster) -> None:
    async with opened(cluster.url) as store:
        with pgbouncer(cluster.url) as pooled:
            await store.accept(inbound("SM1", "one"))
            async with cluster.worker("pooled", url=pooled) as without:
                await store.accept(inbound("SM2", "two"))
                async with cluster.worker("direct", url=pooled, direct=cluster.url) as past:
                    held = (
                        "SELECT count(*) FROM pg_locks JOIN pg_database d ON d.oid = database "
                        "WHERE locktype = 'advisory' AND datname = current_database()"
                    )
                    assert await cluster.run(held) == "1"
                    await without.kill()
                    await past.kill()
            assert await freed(store) == ["SM2"]
            third = open_store(pooled, timeout=LEASE)
            await third.open()
            async with asyncio.timeout(60):
                third.listen()
                await third.join("third")  # returns, although there is no lock to be had
            await third.close()


async def test_one_that_has_not_noticed_that_its_session_has_ended_finds_its_own_lock_free(
    cluster: Cluster,
) -> None:
    """It says itself that nothing follows from that, for nobody else could tell."""
    async with opened(cluster.url) as store, Proxy(cluster.url).serve() as proxy:
        await store.accept(inbound("SM1", "one"))
        async with cluster.worker("alive", url=cluster.url, direct=proxy.url):
            await store.accept(inbound("SM2", "two"))
            async with cluster.worker("killed") as killed:
                proxy.partition()
                await cluster.cut_off("alive")
                await killed.kill()
            assert await freed(store) == ["SM2"]
            assert await cluster.traces() == 0
            proxy.mend()
            await cluster.until_joined("alive")


async def test_a_role_that_may_not_write_the_table_listens_all_the_same(cluster: Cluster) -> None:
    async with opened(cluster.url):
        limited = open_store(await cluster.limited(), timeout=LEASE)
    await limited.open()
    async with opened(cluster.url) as store, asyncio.timeout(60):
        event = limited.listen()
        await limited.join("limited")  # nothing to wait for: it may not
        await event.wait()  # it listens
        with pytest.raises(StoreDenied):
            await limited.release_dead()
        event.clear()
        with pytest.raises(TimeoutError):  # a session that is opened anew wakes all
            async with asyncio.timeout(0.5):
                await event.wait()
        await store.accept(inbound("SM1"))
        await event.wait()
        await limited.leave()
        await limited.close()


async def test_a_server_that_denies_the_table_is_asked_again_only_after_minutes(
    cluster: Cluster,
) -> None:
    """Each refusal is an ERROR in the log of the server, which operators read."""
    clock = Clock()
    presence = Presence(clock)
    presence.join("limited")
    async with opened(cluster.url):
        session = await asyncpg.connect(await cluster.limited())
        before = cluster.refusals()
        for _ in range(3):
            await presence.attend(session)
            with pytest.raises(StoreDenied, match="GRANT SELECT") as denial:
                await presence.find_ended(session)
        assert cluster.refusals() == before + 1
        clock.now += privileges.ASK_AGAIN
        with pytest.raises(StoreDenied):
            await presence.find_ended(session)
        await cluster.grant(str(denial.value))
        with pytest.raises(StoreDenied):
            await presence.find_ended(session)
        clock.now += privileges.ASK_AGAIN
        assert await presence.find_ended(session) == []
        await presence.attend(session)
        assert await cluster.key("limited") != ""
        assert cluster.refusals() == before + 1
        await session.close()


async def test_a_denied_table_is_reported_once_with_what_to_grant(
    cluster: Cluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(takeover, "_EVERY", 0.01)
    monkeypatch.setattr(privileges, "ASK_AGAIN", 0.05)
    told = asyncio.Queue[Event]()
    async with opened(cluster.url), opened(await cluster.limited()) as limited:
        await limited.join("limited")
        taking = Takeover(limited, told.put_nowait)
        async with asyncio.timeout(60), asyncio.TaskGroup() as group:
            group.create_task(taking.run())
            denial = await told.get()
            assert isinstance(denial, Problem)
            assert denial.topic is Topic.STORE_DENIED
            assert f"limited_{cluster.name} may not read or change workers" in denial.text
            await cluster.grant(denial.text)
            again = await told.get()
            assert again == Problem(Topic.STORE_DENIED, TAKES_OVER_AGAIN, resolved=True)
            taking.stop()


def test_after_an_outage_others_have_longer_to_come_back() -> None:
    clock = Clock()
    presence = Presence(clock)
    presence.join("own")
    other, own = Ended("other", 1), Ended("own", 2)
    assert presence.dead([other]) == []
    presence.extend_grace()
    clock.now += 3.0
    assert not presence.dead([other])
    clock.now += 6.0
    assert not presence.dead([other])
    clock.now += 3.0
    assert presence.dead([other, own]) == [other]
    assert presence.lost_session([other]) is None
    assert presence.lost_session([other, own]) == own  # so this process was cut off, too
    clock.now += 3.0
    assert not presence.dead([other])
