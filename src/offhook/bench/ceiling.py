"""How fast this generator is by itself: nothing it measures can be faster."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from offhook.bench.load import Load
from offhook.bench.requests import Supply
from offhook.bench.results import Tally
from offhook.bench.target import Target
from offhook.errors import ConfigurationError

NEAR: Final = 0.7
"""Beyond this share of the ceiling a figure tells of the generator as much as of the server."""


_TOKEN: Final = "nobody looks"  # noqa: S105 - at the signatures


async def ceiling(
    target: Target,
    *,
    connections: int,
    fresh: bool = False,
    seconds: float = 1.5,
    stop: asyncio.Event | None = None,
) -> float:
    """Return how many requests a second an empty server of this machine gets from us."""
    async with _empty_server() as port:
        empty = replace(target, host="127.0.0.1", port=port, tls=False)
        supply = Supply(empty, account_sid="AC" + "0" * 32, auth_token=_TOKEN, close=fresh)
        supply.prepare(20_000)
        tally = Tally()
        load = Load(empty, supply, tally, connections=connections, fresh=fresh)
        await load.closed(seconds, stop)
        return tally.rate


@asynccontextmanager
async def _empty_server() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "offhook.bench.empty_server",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C is for us; it ends with our pipe
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    try:
        line = await process.stdout.readline()
        if not line.strip():
            raise ConfigurationError("the empty server, which the ceiling needs, did not start")
        yield int(line)
    finally:
        process.stdin.close()
        await process.wait()
