"""`offhook ingress` and a real Redis that is not there yet: told, not waited for, and found."""

import asyncio
import signal
from pathlib import Path

from testing.roles import ended, in_thread, listening, site
from testing.valkey import Valkey


async def test_an_ingress_starts_without_its_redis_and_finds_it_later(tmp_path: Path) -> None:
    directory = tmp_path / "valkey"
    directory.mkdir()
    server = Valkey(directory)  # an address; nobody is there

    try:
        async with site(tmp_path, OFFHOOK_CACHE=server.url) as here:
            with here.ingress("a") as one:
                await listening(one)
                assert (await here.simulator.text("one")).status == 200
                await in_thread(lambda: one.wait_for("cache-unavailable: Redis is unavailable"))
                await in_thread(server.start)
                async with asyncio.timeout(60):
                    while "cache-unavailable: Redis is available again" not in one.output:
                        assert (await here.simulator.text("two", duplicates=1)).status == 200
                one.send(signal.SIGTERM)
                assert await ended(one) == 0
    finally:
        server.kill()
