"""A store that is gone or damaged under a running service: told once, and never made worse."""

import asyncio
import os
import resource
import sqlite3
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, closing, contextmanager
from pathlib import Path

from offhook.twilio.simulator import Delivered, Simulator
from testing.commands import PATIENCE, Home, Process, until
from testing.plain_http import PlainAsyncClient
from testing.ports import free_port
from testing.stores import opened_sorted

ACCOUNT = Simulator.credentials()
ENDED = "worker-1 ended with status 3: its store is broken"
BROKEN = "store-broken: messages are not handled"
UNAVAILABLE = 'offhook_trouble_active{topic="store-unavailable"} 1.0'


class Service:
    """A running service, the simulated Twilio, and its store."""

    def __init__(self, process: Process, simulator: Simulator, url: str, admin: str) -> None:
        self.process = process
        self.simulator = simulator
        self.admin = admin
        self._url = url

    async def text_meanwhile(self) -> dict[str, Delivered]:
        """Have five people write while the store is gone; return what was delivered, by text."""
        texts = {f"meanwhile {n}": f"+155512310{n:02}" for n in range(5)}
        delivered = {
            body: await self.simulator.text(body, from_=from_) for body, from_ in texts.items()
        }
        assert {one.status for one in delivered.values()} == {200}, self.process.explain()
        return delivered

    async def answer_to(self, body: str, *, from_: str = "+15551230001") -> str:
        delivered = await self.simulator.text(body, from_=from_)
        assert delivered.status == 200, self.process.explain()
        async with asyncio.timeout(60):
            return (await self.simulator.wait_for(to=delivered.from_, after=delivered.after)).body

    async def ready(self, url: str = "") -> int:
        """Ask the ingress whether it takes webhooks, or the admin process for the store."""
        async with PlainAsyncClient() as client:
            return (await client.get(f"{url or self._url}/readyz", timeout=PATIENCE)).status_code

    async def is_ready(self, url: str = "") -> None:
        async with asyncio.timeout(60):
            while await self.ready(url) != 200:  # noqa: ASYNC110 - it tells nobody
                await asyncio.sleep(0.05)

    async def is_not_ready(self, url: str = "") -> None:
        async with asyncio.timeout(60):
            while await self.ready(url) == 200:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.05)

    @contextmanager
    def without_room(self, role: str) -> Iterator[None]:
        """Have a process write to no file, as on a full disk."""
        (pid,) = self.process.children(f"process.main {role}")
        soft, hard = resource.prlimit(pid, resource.RLIMIT_FSIZE)
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (1, hard))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (soft, hard))

    async def metrics(self) -> str:
        async with PlainAsyncClient() as client:
            return (await client.get(f"{self.admin}/metrics", timeout=PATIENCE)).text

    async def printed(self, text: str, *, after: str = "") -> None:
        def is_there() -> bool:
            output = self.process.output
            return text in output[output.index(after) :]

        await asyncio.to_thread(until, is_there, self.process.explain)

    def cpu(self) -> float:
        """Return the seconds that it and its children have used."""
        return sum(map(_cpu, [self.process.pid, *self.process.children()]))


@asynccontextmanager
async def service(directory: Path, *command: str) -> AsyncIterator[Service]:
    port, admin = free_port(), free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        Simulator(**ACCOUNT._asdict(), webhook_url=f"{url}/twilio/messages") as simulator,
        simulator.serve() as api,
    ):
        home = Home(
            directory,
            TWILIO_ACCOUNT_SID=ACCOUNT.account_sid,
            TWILIO_AUTH_TOKEN=ACCOUNT.auth_token,
            OFFHOOK_PUBLIC_URL=url,
            OFFHOOK_TWILIO_API=api,
            OFFHOOK_SLOW_NOTICE="",  # a machine that is slow would send it before the reply
            OFFHOOK_ADMIN_BIND=f"127.0.0.1:{admin}",
        )
        with home.start(*command, "--port", str(port)) as process:
            await asyncio.to_thread(process.wait_for, "listening on")
            yield Service(process, simulator, url, f"http://127.0.0.1:{admin}")


def backed_up(database: Path) -> Path:
    backup = database.with_name("backup.db")
    with closing(sqlite3.connect(database)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    return backup


def remove(database: Path) -> None:
    for file in database.parent.glob("offhook.db*"):
        if file.is_file():
            file.unlink()


def sids(database: Path) -> set[str]:
    with closing(sqlite3.connect(database)) as connection:
        assert connection.execute("PRAGMA quick_check").fetchall() == [("ok",)]
        return {sid for (sid,) in connection.execute("SELECT sid FROM messages")}


async def test_a_service_whose_store_is_gone_says_so_once_and_goes_on_with_a_backup(
    tmp_path: Path,
) -> None:
    database = tmp_path / "offhook.db"
    async with service(tmp_path, "run", "bot:app") as running:
        await running.is_ready()
        with running.without_room("ingress"):
            await running.is_not_ready()
        await running.is_ready()
        assert await running.answer_to("before") == "You said: before"
        backup = backed_up(database)
        remove(database)
        meanwhile = await running.text_meanwhile()
        await running.printed("store-broken: webhooks wait in the arrivals log")
        await running.is_not_ready(running.admin)
        assert await running.ready() == 200, "it takes webhooks, and no other can"
        assert 'offhook_trouble_active{topic="store-broken"}' in await running.metrics()
        await running.printed(ENDED)
        await running.printed(BROKEN, after=ENDED)  # the one that was started instead
        began, size = running.cpu(), len(running.process.output)
        await asyncio.sleep(2)  # what it does in that time is the question
        assert running.cpu() - began < 0.5, "it spins"
        assert len(running.process.output) - size < 500, running.process.explain()
        assert not database.exists()
        backup.replace(database)
        await running.is_ready(running.admin)
        # Not the same person: the backup may have been made while they were being answered.
        answer = await running.answer_to("after", from_="+15551230002")
        assert answer == "You said: after"
        for body, one in meanwhile.items():
            async with asyncio.timeout(60):
                reply = await running.simulator.wait_for(to=one.from_, after=one.after)
            assert reply.body == f"You said: {body}"
        output = running.process.output
        assert "Traceback" not in output
        assert output.count("store-broken: webhooks wait in the arrivals log") == 1
    assert sids(database)


async def test_a_full_disk_refuses_webhooks_and_then_delays_their_handling_alone(
    tmp_path: Path,
) -> None:
    async with service(tmp_path, "run", "bot:app") as running:
        assert await running.answer_to("before") == "You said: before"
        with running.without_room("ingress"):
            refused = await running.simulator.text("refused")
            assert refused.status == 503
        assert await running.answer_to("between") == "You said: between"
        with running.without_room("worker"):
            waiting = await running.simulator.text("waiting")
            assert waiting.status == 200
            async with asyncio.timeout(60):
                while UNAVAILABLE not in await running.metrics():  # noqa: ASYNC110 - as above
                    await asyncio.sleep(0.05)
        async with asyncio.timeout(60):
            reply = await running.simulator.wait_for(to=waiting.from_, after=waiting.after)
        assert reply.body == "You said: waiting"


async def test_a_service_whose_store_is_damaged_ends_its_worker_and_goes_on_with_a_backup(
    tmp_path: Path,
) -> None:
    database = tmp_path / "offhook.db"
    async with service(tmp_path, "run", "bot:app") as running:
        assert await running.answer_to("before") == "You said: before"
        backup = backed_up(database)
        with closing(sqlite3.connect(database)) as connection:
            while connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:
                pass  # the service is at it itself
        with database.open("r+b") as file:
            file.seek(8192)
            file.write(os.urandom(database.stat().st_size - 8192))
        await running.text_meanwhile()
        await running.is_not_ready(running.admin)
        await running.printed(ENDED)
        assert await running.ready() == 200
        backup.replace(database)
        await running.is_ready(running.admin)
        # Not the same person: the backup may have been made while they were being answered.
        answer = await running.answer_to("after", from_="+15551230002")
        assert answer == "You said: after"
        assert "Traceback" not in running.process.output


async def test_a_service_whose_log_is_removed_saves_what_it_holds_and_goes_on(
    tmp_path: Path,
) -> None:
    database = tmp_path / "offhook.db"
    async with service(tmp_path, "run", "bot:app") as running:
        before = [await running.simulator.text(f"before {n}") for n in range(10)]
        for suffix in ("-wal", "-shm"):
            database.with_name(f"offhook.db{suffix}").unlink()
        await running.is_ready()
        after = [await running.simulator.text(f"after {n}") for n in range(10)]
        acknowledged = {one.sid for one in (*before, *after) if one.status == 200}
        assert len(acknowledged) > 10
        running.process.interrupt()
        assert await asyncio.to_thread(running.process.exit_status) == 0
    async with opened_sorted(database):
        pass
    assert acknowledged <= sids(database)


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
