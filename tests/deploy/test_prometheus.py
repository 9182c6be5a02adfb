"""A real Prometheus scrapes a machine with several processes, and the counts add up."""

import asyncio
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx2

from testing.commands import until
from testing.plain_http import PlainAsyncClient
from testing.ports import free_port
from testing.roles import in_thread, listening, site
from tests.deploy.support import program
from tools.deploy import DEPLOY

CONFIGURATION = """
global:
  scrape_interval: 2s
  evaluation_interval: 1s
rule_files:
  - {rules}
scrape_configs:
  - job_name: offhook
    static_configs:
      - targets: ["{target}"]
"""


class Prometheus:
    """A running one."""

    def __init__(self, url: str, client: httpx2.AsyncClient) -> None:
        self._url = url
        self._client = client

    async def get(self, path: str, **query: str) -> dict[str, Any]:
        response = await self._client.get(f"{self._url}{path}", params=query)
        response.raise_for_status()
        data: dict[str, Any] = response.json()["data"]
        return data

    async def value(self, query: str) -> float | None:
        """Return what a query gives; None for nothing."""
        result = (await self.get("/api/v1/query", query=query))["result"]
        return float(result[0]["value"][1]) if result else None

    async def reaches(self, query: str, wanted: float) -> None:
        """Wait until a query gives a number."""
        found: float | None = None
        try:
            async with asyncio.timeout(60):
                while (found := await self.value(query)) != wanted:  # noqa: ASYNC110 - it scrapes
                    await asyncio.sleep(0.1)
        except TimeoutError:
            raise AssertionError(f"{query} is {found}, not {wanted}") from None


def start(*options: str, log: Path) -> "subprocess.Popen[bytes]":
    with log.open("wb") as output:
        return subprocess.Popen([program("prometheus"), *options], stdout=output, stderr=output)


@asynccontextmanager
async def prometheus(directory: Path, target: str) -> AsyncIterator[Prometheus]:
    address = f"127.0.0.1:{free_port()}"
    rules = DEPLOY / "prometheus" / "offhook.rules.yml"
    configuration = directory / "prometheus.yml"
    configuration.write_text(CONFIGURATION.format(rules=rules, target=target))
    log = directory / "prometheus.log"
    process = await in_thread(
        lambda: start(
            f"--config.file={configuration}",
            f"--storage.tsdb.path={directory / 'data'}",
            f"--web.listen-address={address}",
            log=log,
        )
    )
    try:
        await in_thread(lambda: until(lambda: "ready to receive" in log.read_text(), log.read_text))
        async with PlainAsyncClient() as client:
            yield Prometheus(f"http://{address}", client)
    finally:
        process.terminate()
        process.wait(30)


async def test_the_counts_of_two_ingresses_and_two_workers_add_up(tmp_path: Path) -> None:
    target = f"127.0.0.1:{free_port()}"
    async with site(tmp_path, OFFHOOK_ADMIN_BIND=target) as here:
        with here.run("one", "--ingresses", "2", "--workers", "2") as machine:
            await listening(machine)
            async with prometheus(tmp_path, target) as scraping:
                people = [f"+155512300{number:02}" for number in range(40)]
                await asyncio.gather(*(here.simulator.text("hello", from_=p) for p in people))
                for person in people[:5]:
                    await here.simulator.text("hello", from_=person, duplicates=1)
                await add_up(scraping)


ANSWERED, SORTED = "offhook_webhooks_total", "offhook_webhooks_sorted_total"


async def add_up(scraping: Prometheus) -> None:
    messages = 'offhook_webhooks_total{kind="message",code="200"'
    await scraping.reaches('sum(offhook_sends_total{trigger="accept"})', 45)
    await scraping.reaches(f"sum({messages}}})", 50)
    found = (f"{name}{{result='repeated'}}" for name in (ANSWERED, SORTED))
    await scraping.reaches(f"sum({' or '.join(found)})", 5)
    await scraping.reaches('sum(offhook_handler_runs_total{kind="message",trigger="complete"})', 45)
    await scraping.reaches('sum(offhook_store_messages{state="dead"})', 0)
    await scraping.reaches("sum(offhook_webhooks_total) >= bool 50", 1)
    await scraping.reaches('offhook_processes{role="ingress"}', 2)
    await scraping.reaches('offhook_processes{role="worker"}', 2)
    await scraping.reaches("up", 1)
    (group,) = (await scraping.get("/api/v1/rules"))["groups"]
    assert {rule["health"] for rule in group["rules"]} <= {"ok", "unknown"}
    assert not [rule for rule in group["rules"] if rule.get("lastError")]
