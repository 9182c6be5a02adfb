"""`offhook ingress` and `offhook worker`: one role a machine, joined by the store alone."""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from offhook.stores.sqlite.files import beside
from testing.commands import PATIENCE, is_alive, until
from testing.roles import Site, ended, in_thread, listening, site, working


async def test_what_one_machine_stores_another_answers(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with (
            here.ingress("a", "--ingresses", "2") as ingress,
            here.worker("b", "--workers", "2") as worker,
        ):
            await listening(ingress)
            await working(worker)
            assert len(ingress.children("process.main ingress")) == 2
            assert ingress.children("process.main worker") == []
            assert worker.children("process.main ingress") == []
            handlers = worker.children("process.main worker")
            assert len(handlers) == 2

            assert (await here.simulator.text("hello")).status == 200
            body, pid = (await here.reply()).split()
            assert (body, int(pid) in handlers) == ("hello", True)

            for process in (ingress, worker):
                process.send(signal.SIGTERM)
                assert await ended(process) == 0, process.explain()
                assert "Traceback" not in process.output


async def test_a_second_signal_ends_a_worker_now(tmp_path: Path) -> None:
    async with site(tmp_path, OFFHOOK_DRAIN_TIMEOUT="300") as here:
        with here.ingress() as ingress, here.worker("a") as worker:
            await listening(ingress)
            await here.simulator.text("hang")
            handler = await here.hanging("a")
            worker.send(signal.SIGTERM)
            await in_thread(lambda: until(worker.signals_are_taken))
            await here.simulator.text("hello", from_="+15551230002")
            assert is_alive(handler), "it drains"
            worker.send(signal.SIGTERM)
            await ended(worker)
            assert not is_alive(handler)


async def test_a_worker_waits_for_a_store_that_is_away(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with here.ingress() as ingress:
            await listening(ingress)
            await here.simulator.text("hello")
        here.store.rename(tmp_path / "elsewhere")
        with here.worker() as worker:
            await in_thread(lambda: worker.wait_for("messages are not handled"))
            assert "starting without the store, which is waited for" in worker.output
            (tmp_path / "elsewhere").rename(here.store)
            assert (await here.reply()).split()[0] == "hello"
            await working(worker)
            assert worker.output.index("the store is back") < worker.output.index("worker ready")
            assert worker.output.count("restarting") == 0, "nothing crashed"


async def test_an_ingress_without_spool_does_not_start_without_a_store(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        here.store.rmdir()
        with here.ingress() as ingress:
            assert await ended(ingress) == 1
            assert "offhook: cannot open" in ingress.output


async def test_what_is_missing_is_named(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        with here.ingress(OFFHOOK_PUBLIC_URL="") as ingress:
            assert await ended(ingress) == 1
            assert "OFFHOOK_PUBLIC_URL must be set" in ingress.output
        with here.ingress(OFFHOOK_SPOOL=f"sqlite:///{here.store}/offhook.db") as ingress:
            assert await ended(ingress) == 1
            assert "OFFHOOK_SPOOL: must be another file than OFFHOOK_STORE" in ingress.output
        with here.worker(TWILIO_AUTH_TOKEN="") as worker:
            assert await ended(worker) == 1
            assert "TWILIO_AUTH_TOKEN must be set" in worker.output
        with here.worker(OFFHOOK_PUBLIC_URL="") as worker:
            await working(worker)
            assert "can't report the delivery of replies" in worker.output


@pytest.mark.parametrize(
    ("modules", "unused"),
    [
        ("offhook.process.main", {"typer", "rich", "uvicorn", "aiohttp"}),
        ("offhook.app, offhook.ingress.role, offhook.admin.service", {"typer", "aiohttp"}),
        ("offhook.cli.commands, offhook.cli.run", {"rich", "uvicorn", "aiohttp"}),
    ],
    ids=["a child", "what calls nobody", "the parent"],
)
def test_a_process_loads_neither_a_command_line_nor_what_another_needs(
    modules: str, unused: set[str]
) -> None:
    script = f"import sys, {modules}; print({unused} & sys.modules.keys())"
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "set()"


# Last in the file: the loop that they share runs only during these tests.
sharing = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Site]:
    """Return a site with an ingress machine that is up.

    Each test that shares it starts workers on machines of its own, writes from a number of its
    own, and leaves no message behind.
    """
    async with site(tmp_path_factory.mktemp("shared")) as here:
        with here.ingress() as ingress:
            await listening(ingress)
            yield here


@sharing
async def test_an_ingress_stores_while_no_worker_is_there(shared: Site) -> None:
    assert (await shared.simulator.text("hello", from_="+15551230011")).status == 200
    with shared.worker("late"):
        assert (await shared.reply("+15551230011")).split()[0] == "hello"


@sharing
async def test_a_dead_machine_s_messages_go_on_elsewhere_when_their_leases_run_out(
    shared: Site,
) -> None:
    number = "+15551230012"
    # Long enough that it is not lost while the machine is busy, before the kill.
    with shared.worker("dead", OFFHOOK_LEASE="4") as worker:
        await shared.simulator.text("hang", from_=number)
        handler = await shared.hanging("dead")
        os.killpg(worker.pid, signal.SIGKILL)  # supervisor and all: a power cut
        (shared.path / "other").mkdir()
        (shared.path / "other" / "first").touch()  # there, nothing hangs
        with shared.worker("other", OFFHOOK_LEASE="1") as other:
            body, pid = (await shared.reply(number)).split()
            assert (body, int(pid) != handler) == ("hang", True)
            assert int(pid) in other.children("process.main worker")


@sharing
async def test_a_worker_machine_replaces_what_dies(shared: Site) -> None:
    number = "+15551230013"
    with shared.worker("mended", OFFHOOK_LEASE="120") as worker:
        await shared.simulator.text("hang", from_=number)
        handler = await shared.hanging("mended")
        os.kill(handler, signal.SIGKILL)
        assert int((await shared.reply(number)).split()[1]) != handler
        assert "worker-1 was killed by SIGKILL" in worker.output


@sharing
async def test_a_worker_that_is_told_to_end_finishes_what_it_has(shared: Site) -> None:
    number = "+15551230014"
    with shared.worker("ending") as worker:
        await shared.simulator.text("hang", from_=number)
        handler = await shared.hanging("ending")
        worker.send(signal.SIGTERM)
        shared.let_go("ending")
        assert await ended(worker) == 0
        assert await shared.reply(number) == f"hang {handler}"


def is_sorting(site: Site, pid: int) -> bool:
    """Return whether a process sorts arrivals; it ends that when it ends claiming."""
    lock = beside(site.store / "offhook.db", "-sorter-lock")
    inode = str(lock.stat().st_ino)
    locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
    return any(line[-4] == str(pid) and line[-3].split(":")[2] == inode for line in locks)


@sharing
async def test_two_machines_of_a_kind_can_be_replaced_one_after_the_other(shared: Site) -> None:
    number = "+15551230015"
    with shared.worker("old") as old:
        await shared.simulator.text("hang", from_=number)
        handler = await shared.hanging("old")
        with shared.worker("new") as new:
            await working(new)
            old.send(signal.SIGTERM)
            await in_thread(lambda: until(lambda: not is_sorting(shared, handler)))
            # It may have been claiming when it heard of it.
            async with asyncio.timeout(PATIENCE):
                while await shared.answering() == handler:
                    pass
            # The old one finishes its own; the new one has the rest already.
            assert handler not in [await shared.answering() for _ in range(3)]
            assert is_alive(handler)
            shared.let_go("old")
            assert await ended(old) == 0
            await in_thread(lambda: until(lambda: not is_alive(handler)))
            assert await shared.reply(number) == f"hang {handler}"
