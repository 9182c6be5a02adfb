"""The store's unique key is the only truth.

Whatever a Redis does (forgets, keeps too long, cuts, swaps, makes up), in whatever order webhooks
come to whichever process: no forged request gets in, none that was acknowledged is missing from
the store, and none is stored twice.
"""

import asyncio
import dataclasses
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from offhook.arrivals.direct import reading
from offhook.cache.redis import RedisCache
from offhook.cache.redis_connection import RedisConnection
from offhook.cache.signing import EntrySigner
from offhook.core.requests import Request
from offhook.events import Event
from offhook.ingress.reception import Reception
from offhook.stores import open_store
from offhook.stores.api import Filter, Store
from testing.valkey import Valkey, valkey
from testing.webhooks import MESSAGE, answered, changed, encoded, named, settings
from tests.cache.support import entry, signer
from tests.ingress.test_reception import webhook

SIDS = tuple(f"SM{n:032x}" for n in range(3))
GENUINE = tuple(webhook(named(MESSAGE, sid)) for sid in SIDS)
# Of each: a body that was not signed, a body cut short, a signature of somebody else's.
FORGED = tuple(
    forged
    for sid, genuine in zip(SIDS, GENUINE, strict=True)
    for forged in (
        genuine._replace(body=encoded(changed(named(MESSAGE, sid), Body="Pay me"))),
        genuine._replace(body=genuine.body[:-1]),
        webhook(named(MESSAGE, sid), token="somebody-elses"),
    )
)
STRANGER = signer(token="a stranger's")


class Deployment:
    """Two processes with one store and one Redis."""

    def __init__(self, store: Store, url: str, our_signer: EntrySigner) -> None:
        self.store = store
        self._url = url
        self._signer = our_signer
        self.caches: list[RedisCache] = []
        self.receptions: list[Reception] = []
        self.events: list[Event] = []

    async def start(self) -> None:
        for _ in range(2):
            cache = RedisCache(
                RedisConnection(self._url, self.events.append), self._signer, ttl=300.0
            )
            await cache.start()
            self.caches.append(cache)
            self.receptions.append(
                Reception(reading(self.store.accept), settings(), self.events.append, cache=cache)
            )

    async def stop(self) -> None:
        for cache in self.caches:
            await cache.close()
        self.caches.clear()
        self.receptions.clear()

    async def deliver(self, request: Request, process: int) -> int:
        answer = await answered(self.receptions[process], request)
        await self.caches[process].flush()
        return answer.status


@dataclasses.dataclass(frozen=True)
class Deliver:
    request: int
    process: int
    forged: bool = False


@dataclasses.dataclass(frozen=True)
class Meddle:
    """What a hostile Redis does; it has seen every fingerprint it was asked for."""

    how: str


deliveries = st.one_of(
    st.builds(Deliver, st.integers(0, len(GENUINE) - 1), st.integers(0, 1)),
    st.builds(Deliver, st.integers(0, len(FORGED) - 1), st.integers(0, 1), st.just(value=True)),
)
meddling = st.builds(
    Meddle,
    st.sampled_from(["flush", "truncate", "flip", "swap", "vouch", "make up", "stale", "restart"]),
)


def meddle(server: Valkey, how: str, ours: EntrySigner) -> None:
    """Change what Redis holds. It knows under which names the forged requests are looked up."""
    forged = [request.fingerprint(ours.secret) for request in FORGED]
    with server.client() as client:
        held: dict[bytes, bytes] = {name: client.get(name) for name in client.keys("*")}
        names, values = list(held), list(held.values())
        match how:
            case "flush":
                client.flushall()
            case "truncate":
                held = {name: value[: len(value) // 2] for name, value in held.items()}
            case "flip":
                held = {name: value[:9] + b"\xff" + value[10:] for name, value in held.items()}
            case "swap":
                held = dict(zip(names, reversed(values), strict=True))
            case "vouch":
                held = {b"offhook:1:" + key: value for key in forged for value in values[:1]}
            case "make up":
                now = entry(time=time.time())
                held = {b"offhook:1:" + key: STRANGER.sign(key, now) or b"" for key in forged}
            case "stale":  # of a store that was replaced since
                old = entry(time=time.time() - 400)
                keys = [request.fingerprint(ours.secret) for request in GENUINE]
                held = {b"offhook:1:" + key: ours.sign(key, old) or b"" for key in keys}
        if held and how != "flush":
            client.mset(held)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Valkey]:
    with valkey(tmp_path_factory.mktemp("valkey")) as running:
        yield running


@hypothesis_settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)
@given(steps=st.lists(st.one_of(deliveries, meddling), min_size=20, max_size=40))
async def test_whatever_redis_does_the_store_is_right(
    server: Valkey, steps: Sequence[Deliver | Meddle]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        await play(server, Path(folder), steps)


async def play(server: Valkey, folder: Path, steps: Sequence[Deliver | Meddle]) -> None:
    meddle(server, "flush", STRANGER)
    store = open_store(f"sqlite:///{folder}/offhook.db")
    ours = signer()
    deployment = Deployment(store, server.url, ours)
    await store.open()
    await deployment.start()
    acknowledged: set[str] = set()
    try:
        for step in steps:
            match step:
                case Deliver(request, process, forged=True):
                    status = await deployment.deliver(FORGED[request], process)
                    assert status in {400, 403}
                case Deliver(request, process):
                    assert await deployment.deliver(GENUINE[request], process) == 200
                    acknowledged.add(SIDS[request])
                case Meddle("restart"):
                    await deployment.stop()
                    await deployment.start()
                case Meddle(how):
                    await asyncio.to_thread(meddle, server, how, ours)
            stored: Any = [record.sid for record in await store.find(Filter())]
            assert sorted(stored) == sorted(acknowledged)
    finally:
        await deployment.stop()
        await store.close()


async def test_an_entry_outlives_a_store_that_was_wiped_by_no_more_than_its_time(
    server: Valkey, tmp_path: Path
) -> None:
    """What is left: within 5 minutes, a repeat of what a wiped store held is acknowledged.

    It was acknowledged before, and lost with the store. A store of another name is not affected.
    """

    meddle(server, "flush", STRANGER)
    for name, signed, stored in (
        ("first", signer(), 1),
        ("wiped", signer(), 0),
        ("another", signer(store="postgresql://another/offhook"), 1),
    ):
        store = open_store(f"sqlite:///{tmp_path}/{name}.db")
        await store.open()
        deployment = Deployment(store, server.url, signed)
        await deployment.start()
        assert await deployment.deliver(GENUINE[0], 0) == 200
        assert len(await store.find(Filter())) == stored
        await deployment.stop()
        await store.close()
