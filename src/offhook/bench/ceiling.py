"""The rate this generator reaches against an empty server: no measurement can exceed it."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Final

from offhook.bench.load import Load
from offhook.bench.requests import RequestSource
from offhook.bench.results import Results
from offhook.bench.target import Target
from offhook.errors import ConfigurationError

NEAR_CEILING: Final = 0.7
"""Above this share of the ceiling, a figure is limited by the generator too."""

_TOKEN: Final = "unchecked"  # noqa: S105 - the empty server checks no signature


async def ceiling(
    target: Target,
    *,
    connections: int,
    fresh: bool = False,
    seconds: float = 1.5,
    stop: asyncio.Event | None = None,
) -> float:
    """Return the requests a second that an empty server on this machine answers."""
    async with _empty_server() as port:
        empty = replace(target, host="127.0.0.1", port=port, tls=False)
        requests = RequestSource(empty, account_sid="AC" + "0" * 32, auth_token=_TOKEN, close=fresh)
        requests.prepare(20_000)
        results = Results()
        load = Load(empty, requests, results, connections=connections, fresh=fresh)
        await load.closed(seconds, stop)
        return results.rate


@asynccontextmanager
async def _empty_server() -> AsyncIterator[int]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "offhook.bench.empty_server",
        stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE,
        start_new_session=True,  # Ctrl-C reaches this process only; the server exits with its stdin
    )  # fmt: skip
    assert process.stdin is not None  # noqa: S101
    assert process.stdout is not None  # noqa: S101
    try:
        line = await process.stdout.readline()
        if not line.strip():
            raise ConfigurationError("the empty server for measuring the ceiling did not start")
        yield int(line)
    finally:
        process.stdin.close()
        await process.wait()
