"""Whatever is written to a real `offhook ingress` is answered by name, or stored if it was signed.

`make test` fires a few hundred requests, `make fuzz` 100,000 (FUZZ_SEED, FUZZ_SOCKET_REQUESTS).
"""

import asyncio
import os
import re
import time
from itertools import pairwise
from pathlib import Path

import pytest

from offhook.stores.api import Filter
from testing.commands import Home
from testing.memory import Growth
from testing.stores import opened_sorted
from testing.webhooks import ACCOUNT, PUBLIC, TOKEN
from tests.fuzz.shots import Gun
from tests.fuzz.test_entry import seed
from tests.fuzz.wire import Client

WARM_UP = 1_000
PART = 5_000


def fire(path: Path, chosen: int, count: int, *, at_once: int = 64) -> None:
    store = f"sqlite:///{path}/offhook.db"
    home = Home(
        path,
        TWILIO_ACCOUNT_SID=ACCOUNT,
        TWILIO_AUTH_TOKEN=TOKEN,
        OFFHOOK_PUBLIC_URL=PUBLIC,
        OFFHOOK_STORE=store,
    )
    began = time.monotonic()
    with home.start("ingress", "bot:app", "--port", "0") as process:
        process.wait_for("listening on")
        (port,) = re.findall(r"listening on http://127\.0\.0\.1:(\d+)", process.output)
        (ingress,) = process.children("process.main ingress")
        client, growth = Client(int(port), Gun(chosen)), None
        bounds = [0, *range(min(WARM_UP, count), count, PART), count]
        for first, last in pairwise(bounds):
            asyncio.run(client.fire(range(first, last), at_once))
            # By now the interpreter has made itself at home.
            growth = growth or Growth(ingress)
            growth.look()
        assert process.children("process.main ingress") == [ingress], "it has not been replaced"
        for bad in ("Traceback", "internal-error", "Exception"):
            assert bad not in process.output
    stored = asyncio.run(sids(store))
    took = time.monotonic() - began
    print(f"\n{count:,} requests over sockets in {took:.0f} s; {len(stored):,} stored; {growth}")
    for (status, error), times in sorted(client.answers.items()):
        print(f"  {status} {error:26} {times:9,}")
    assert stored <= client.signed, "what nobody has signed"
    assert client.acknowledged <= stored
    assert client.acknowledged
    assert {400, 403, 404, 405} <= {status for status, _ in client.answers}


async def sids(url: str) -> set[str]:
    async with opened_sorted(url) as store:
        return {record.sid for record in await store.find(Filter(limit=10_000_000))}


def test_some_hundred_requests(tmp_path: Path) -> None:
    fire(tmp_path, 1, 400)


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_hundred_thousand_requests(tmp_path: Path) -> None:
    chosen = seed()
    print(f"\nFUZZ_SEED={chosen}")
    fire(tmp_path, chosen, int(os.environ.get("FUZZ_SOCKET_REQUESTS", "100000")))
