"""The admin address: what a machine does, told by a process of its own."""

import asyncio
import os
import re
import signal
import socket
from collections.abc import Callable
from pathlib import Path

import httpx2
from prometheus_client.parser import text_string_to_metric_families as parse

from testing.commands import PATIENCE, Process, until
from testing.plain_http import PlainAsyncClient
from testing.roles import Site, ended, in_thread, listening, site, working

ANY = "127.0.0.1:0"


def admin_of(process: Process) -> str:
    """Return the URL that a command prints, which may be after what its processes print."""
    process.wait_for("metrics on ")
    match = re.search(r"metrics on (http://[\d.:]+)", process.output)
    assert match, process.explain()
    return match[1]


async def get(process: Process, path: str) -> httpx2.Response:
    base = await in_thread(lambda: admin_of(process))
    async with PlainAsyncClient() as client:
        return await client.get(base + path, timeout=PATIENCE)


async def test_each_command_tells_how_its_machine_does(tmp_path: Path) -> None:
    async with site(tmp_path, OFFHOOK_ADMIN_BIND=ANY) as here:
        with here.ingress("a") as ingress, here.worker("b") as worker:
            await listening(ingress)
            await working(worker)
            await here.simulator.text("hello")
            await here.reply()
            for process in (ingress, worker):
                assert (await get(process, "/healthz")).text == "alive\n"
                await ready(process)
                metrics = await get(process, "/metrics")
                assert metrics.headers["content-type"].startswith("text/plain; version=")
                assert "offhook_store_up 1.0" in metrics.text
                assert 'offhook_store_messages{state="dead"} 0.0' in metrics.text
                assert (await get(process, "/twilio/messages")).status_code == 404
                process.send(signal.SIGTERM)
                assert await ended(process) == 0, process.explain()


async def ready(process: Process) -> None:
    async with asyncio.timeout(PATIENCE):
        while (await get(process, "/readyz")).status_code != 200:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0.05)


async def test_it_is_replaced_on_the_same_address_and_nobody_else_is(tmp_path: Path) -> None:
    async with site(tmp_path, OFFHOOK_ADMIN_BIND=ANY) as here:
        with here.worker() as worker:
            await working(worker)
            (admin,) = worker.children("process.admin_main")
            (handlers,) = worker.children("process.main worker")
            os.kill(admin, signal.SIGKILL)
            # The socket is the supervisor's: this waits in it for the next process.
            assert (await get(worker, "/healthz")).text == "alive\n"
            assert worker.children("process.admin_main") != [admin]
            assert worker.children("process.main worker") == [handlers]


async def test_what_several_processes_count_adds_up_and_outlives_them(tmp_path: Path) -> None:
    async with site(tmp_path, OFFHOOK_ADMIN_BIND=ANY) as here:
        with here.run("one", "--ingresses", "2", "--workers", "2") as machine:
            await listening(machine)
            for number in range(20):
                await here.simulator.text("hello", from_=f"+155512300{number:02}")
            await here.simulator.text("again", duplicates=2)
            await shows(machine, "offhook_sends_total", 21, trigger="accept")
            # What is done is seen before it is counted; who is killed between the two never counts.
            await shows(machine, "offhook_webhooks_total", 23, kind="message", code="200")
            await shows(machine, "offhook_handler_runs_total", 21, kind="message")
            await all_are_sorted(machine)

            for child in machine.children("process.main"):
                os.kill(child, signal.SIGKILL)
            await here.simulator.text("hello", from_="+15551239999")
            await shows(machine, "offhook_sends_total", 22, trigger="accept")
            await shows(machine, "offhook_handler_runs_total", 22, kind="message")
            # The others may take longer to be there again.
            await shows(machine, "offhook_processes", 2, role="ingress")
            found = await shows(machine, "offhook_processes", 2, role="worker")
            stored, repeated = (
                found("offhook_webhooks_total", result=result) for result in ("stored", "repeated")
            )
            assert found("offhook_webhooks_total", kind="message", code="200", error="") == 24
            assert found("offhook_webhook_phase_seconds_count", phase="total") == stored + repeated
            assert found("offhook_webhooks_sorted_total", result="repeated") + repeated >= 2
            assert found("offhook_handler_runs_total", kind="message") == 22
            assert found("offhook_sends_total", trigger="accept") == 22
            assert found("offhook_store_messages", state="dead") == 0
            async with asyncio.timeout(60):  # all that were killed have been replaced
                while found("offhook_processes", role="worker") < 2 or (
                    found("offhook_processes", role="ingress") < 2
                ):
                    found = await metrics(machine)
            assert found("offhook_process_resident_memory_bytes", process="admin-1") > 1e6
            assert found("offhook_process_cpu_seconds_total", process="worker-2") > 0


async def shows(process: Process, name: str, value: float, **labels: str) -> Callable[..., float]:
    """Wait until samples add up to a value; return what adds others of that scrape up."""
    found = await metrics(process)
    async with asyncio.timeout(60):
        while found(name, **labels) != value:
            await asyncio.sleep(0.05)
            found = await metrics(process)
    return found


async def all_are_sorted(process: Process) -> None:
    """Wait until what was stored, statuses included, has been counted again by the sorter."""
    async with asyncio.timeout(60):
        while True:
            found = await metrics(process)
            stored = found("offhook_webhooks_total", result="stored")
            if found("offhook_webhooks_sorted_total") == stored:
                return
            await asyncio.sleep(0.05)


async def metrics(process: Process) -> Callable[..., float]:
    """Return what adds up the samples of a name whose labels include some."""
    text = (await get(process, "/metrics")).text
    samples = [sample for family in parse(text) for sample in family.samples]

    def total(name: str, **labels: str) -> float:
        return sum(
            sample.value
            for sample in samples
            if sample.name == name and labels.items() <= sample.labels.items()
        )

    return total


async def test_a_taken_address_is_told_and_stops_nobody(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        async with site(tmp_path, OFFHOOK_ADMIN_BIND=address) as here:
            with here.ingress() as ingress, here.worker() as worker:
                await listening(ingress)
                assert f"the admin address {address} is in use" in ingress.output
                assert ingress.children("process.admin_main") == []
                await here.simulator.text("hello")
                assert (await here.reply()).split()[0] == "hello"
                assert "OFFHOOK_ADMIN_BIND" in worker.output


async def test_a_store_that_is_away_is_told_of(tmp_path: Path) -> None:
    async with site(tmp_path, OFFHOOK_ADMIN_BIND=ANY) as here:
        here.store.rename(tmp_path / "elsewhere")
        with here.worker() as worker:
            await in_thread(lambda: worker.wait_for("messages are not handled"))
            await in_thread(lambda: until(lambda: "process.admin_main" in children(worker)))
            assert (await get(worker, "/readyz")).status_code == 503
            assert "offhook_store_up 0.0" in (await get(worker, "/metrics")).text
            (tmp_path / "elsewhere").rename(here.store)
            await ready(worker)


def children(process: Process) -> str:
    return "process.admin_main" if process.children("process.admin_main") else ""


async def test_an_address_that_can_not_be_is_named(tmp_path: Path) -> None:
    async with site(tmp_path) as here:
        for address, told in (
            ("8001", "OFFHOOK_ADMIN_BIND: must look like 127.0.0.1:8001"),
            ("192.0.2.1:8001", "OFFHOOK_ADMIN_BIND: can't listen on 192.0.2.1:8001"),
        ):
            await refused(here, address, told)


async def refused(here: Site, address: str, told: str) -> None:
    with here.worker(OFFHOOK_ADMIN_BIND=address) as worker:
        assert await ended(worker) == 1
        assert told in worker.output, worker.explain()
