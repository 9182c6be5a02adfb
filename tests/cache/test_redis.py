"""A Redis behind the memory: what one process has answered, another knows; and when it is away."""

import asyncio
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from offhook.cache.redis import MISSES, SAMPLE, WAITING, RedisCache
from offhook.ports import ValidationCacheEntry
from testing.valkey import Valkey, behind_tls, valkey
from tests.cache.support import PATIENCE, Told, asked, entry, redis_cache, signer


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Valkey]:
    with valkey(tmp_path / "valkey") as running:
        yield running


def fresh(**given: str) -> ValidationCacheEntry:
    return entry(time=time.time(), **given)


async def written(cache: RedisCache, key: bytes, one: ValidationCacheEntry) -> None:
    """Put an entry, and wait until Redis has it."""
    cache.put(key, one)
    await cache.flush()


async def test_what_one_process_has_answered_another_knows(server: Valkey) -> None:
    key, one = os.urandom(32), fresh()
    async with redis_cache(server.url) as here, redis_cache(server.url) as there:
        await written(here, key, one)
        assert there.get(key) is None
        assert await asked(there, key) == one
        assert there.get(key) == one  # from now on without Redis
    with server.client() as client:
        (name,) = client.keys("*")
        assert name == b"offhook:1:" + key
        assert 0 < client.pttl(name) <= 300_000


async def test_many_lookups_at_once_are_few_commands(server: Valkey) -> None:
    async def look_up(cache: RedisCache, keys: list[bytes]) -> int:
        asking = [cache.ask(key) for key in keys]
        found = await asyncio.gather(*(one for one in asking if one is not None))
        return len([one for one in found if one is not None])

    keys = [os.urandom(32) for _ in range(100)]
    async with redis_cache(server.url) as here, redis_cache(server.url) as there:
        for key in keys:
            here.put(key, fresh())
        await here.flush()
        with server.client() as client:
            assert client.info("commandstats")["cmdstat_eval"]["calls"] == 1
            async with asyncio.timeout(PATIENCE):
                # A busy machine may take more than 20 ms, and then nothing is known in time.
                while await look_up(there, keys) < len(keys):
                    client.config_resetstat()
            assert client.info("commandstats")["cmdstat_mget"]["calls"] == 1


async def test_who_has_no_luck_asks_less_until_a_repeat_comes(server: Valkey) -> None:
    async def wanted(cache: RedisCache, count: int) -> int:
        asking = [cache.ask(os.urandom(32)) for _ in range(count)]
        answers = [one for one in asking if one is not None]
        await asyncio.gather(*answers)
        return len(answers)

    async with redis_cache(server.url) as cache:
        await wanted(cache, MISSES)
        assert await wanted(cache, 10 * SAMPLE) == 10
        cache.put(os.urandom(32), fresh(), repeat=True)
        assert await wanted(cache, SAMPLE) == SAMPLE


async def test_more_writes_than_it_can_hold_are_dropped_and_nobody_waits(server: Valkey) -> None:
    async with redis_cache(server.url) as cache:
        for _ in range(WAITING + 500):
            cache.put(os.urandom(32), fresh())
    with server.client() as client:
        assert client.dbsize() == WAITING


async def test_redis_away_at_the_start_is_told_and_found_when_it_comes(tmp_path: Path) -> None:
    told = Told()
    server = Valkey(tmp_path)
    try:
        async with redis_cache(server.url, told=told) as cache:
            assert told.states == [False]
            assert cache.ask(os.urandom(32)) is None
            cache.put(os.urandom(32), fresh())  # kept here alone
            server.start()
            key = os.urandom(32)
            assert await asked(cache, key) is None
            await told.until(lambda: told.states == [False, True])
    finally:
        server.kill()


async def test_a_killed_redis_is_told_once_and_used_again_when_it_is_back(server: Valkey) -> None:
    told = Told()
    async with redis_cache(server.url, told=told) as cache:
        server.kill()
        async with asyncio.timeout(60):
            while told.states != [False]:
                answer = cache.ask(os.urandom(32))
                if answer is not None:
                    assert await answer is None
                await asyncio.sleep(0)
        server.start()
        key, one = os.urandom(32), fresh()
        await asked(cache, os.urandom(32))
        await written(cache, key, one)
        await told.until(lambda: told.states == [False, True])
        async with redis_cache(server.url) as other:
            assert await asked(other, key) == one


async def test_a_request_does_not_wait_for_a_frozen_redis(server: Valkey) -> None:
    told = Told()
    async with redis_cache(server.url, told=told) as cache:
        server.freeze()
        answer = cache.ask(os.urandom(32))
        assert answer is not None
        async with asyncio.timeout(PATIENCE):  # it stays frozen for longer
            assert await answer is None
        await told.until(lambda: told.states == [False])
        assert cache.ask(os.urandom(32)) is None  # nobody else waits
        server.thaw()
        await asked(cache, os.urandom(32))
        await told.until(lambda: told.states == [False, True])


async def test_a_password_is_used_and_a_wrong_one_is_told_without_it(tmp_path: Path) -> None:
    with valkey(tmp_path / "valkey", password="hush-hush") as server:
        key, one = os.urandom(32), fresh()
        async with redis_cache(server.url) as cache:
            await written(cache, key, one)
        async with redis_cache(server.url) as cache:
            assert await asked(cache, key) == one
        told = Told()
        wrong = server.url.replace("hush-hush", "wrong-secret")
        async with redis_cache(wrong, told=told):
            assert told.states == [False]
        assert "AuthenticationError" in told.problems[0].text
        assert "secret" not in repr(told.problems)


def certificate(folder: Path) -> Path:
    """Return a file with a new certificate of 127.0.0.1 and its key."""
    pem = folder / "valkey.pem"
    subprocess.run(
        [
            "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
            "-nodes", "-days", "2", "-subj", "/CN=127.0.0.1",
            "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", pem, "-out", folder / "c.pem",
        ],
        check=True, capture_output=True,
    )  # fmt: skip
    pem.write_bytes(pem.read_bytes() + (folder / "c.pem").read_bytes())
    return pem


async def test_it_speaks_tls_and_trusts_no_stranger(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    with valkey(tmp_path / "valkey") as server:
        async with behind_tls(server, pem) as port:
            url = f"rediss://127.0.0.1:{port}/0"
            key, one, told = os.urandom(32), fresh(), Told()
            async with redis_cache(f"{url}?ssl_ca_certs={pem}") as cache:
                await written(cache, key, one)
            async with redis_cache(f"{url}?ssl_ca_certs={pem}") as cache:
                assert await asked(cache, key) == one
            async with redis_cache(url, told=told) as cache:
                assert cache.ask(key) is None
        assert "CERTIFICATE_VERIFY_FAILED" in told.problems[0].text


@pytest.mark.parametrize(
    "nonsense",
    [
        b":1\r\n",
        b"*0\r\n",
        b"*2\r\n$1\r\na\r\n$1\r\nb\r\n",
        b"*1\r\n*1\r\n:1\r\n",
        b"-ERR no\r\n",
        b"?",
    ],
)
async def test_a_redis_that_answers_nonsense_is_one_that_knows_nothing(nonsense: bytes) -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(65536):
            writer.write(nonsense if b"MGET" in data else b"+PONG\r\n")
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with redis_cache(f"redis://127.0.0.1:{port}/0") as cache:
        answer = cache.ask(os.urandom(32))
        assert answer is not None
        assert await answer is None
    server.close()


async def test_it_can_be_closed_while_somebody_waits_for_a_frozen_redis(server: Valkey) -> None:
    async with redis_cache(server.url) as cache:
        server.freeze()
        answer = cache.ask(os.urandom(32))
        assert answer is not None
        waiting = asyncio.ensure_future(answer)
        cache.put(os.urandom(32), fresh())
        await asyncio.sleep(0)
    assert await waiting is None
    assert [task for task in asyncio.all_tasks() if task.get_name() == "offhook cache"] == []
    await cache.close()


async def test_what_it_did_not_write_it_does_not_believe(server: Valkey) -> None:
    mine, foreign, stale = (os.urandom(32) for _ in range(3))
    async with redis_cache(server.url) as cache:
        await written(cache, mine, fresh())
    with server.client() as client:
        value = client.get(b"offhook:1:" + mine)
        client.set(b"offhook:1:" + foreign, value)
        old = signer().sign(stale, entry(time=time.time() - 301))
        client.set(b"offhook:1:" + stale, old)
        client.lpush(b"offhook:1:" + mine[::-1], "of another type")
    async with redis_cache(server.url) as cache:
        for key in (foreign, stale, mine[::-1]):
            assert await asked(cache, key) is None
