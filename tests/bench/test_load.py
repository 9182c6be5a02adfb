"""A load is counted to the last request, and a server that stalls can't hide it."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from offhook.bench.ceiling import ceiling
from offhook.bench.empty_server import EmptyServer
from offhook.bench.load import Load
from offhook.bench.requests import Mix, RequestSource
from offhook.bench.results import Results
from offhook.bench.run import BenchOptions, BenchRun
from offhook.bench.target import Target

ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
FORBIDDEN = b"HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"


@asynccontextmanager
async def serving(protocol: Callable[[], asyncio.Protocol]) -> AsyncIterator[Target]:
    server = await asyncio.get_running_loop().create_server(protocol, "127.0.0.1", 0)
    try:
        yield Target.parse(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    finally:
        server.close()


class Scripted(asyncio.Protocol):
    """Answers each request by what `act` does with the connection; bodies are not looked at."""

    def __init__(self, act: Callable[[Any], None]) -> None:
        self._act = act

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        assert data.startswith(b"POST ")
        self._act(self._transport)


def load(target: Target, results: Results, mix: Mix | None = None, **options: Any) -> Load:
    requests = RequestSource(target, account_sid="AC", auth_token="made up", mix=mix)
    return Load(target, requests, results, **{"connections": 4, **options})


@pytest.mark.parametrize("fresh", [False, True])
async def test_an_open_loop_sends_all_that_is_due(fresh: bool) -> None:
    results = Results(keep=True)
    async with serving(EmptyServer) as target:
        await load(target, results, fresh=fresh).open(rate=500, seconds=0.2)
    assert results.statuses == {200: 100}
    assert len(set(results.acknowledged or ())) == 100
    assert results.good


async def test_a_closed_loop_goes_on_until_its_time_is_over() -> None:
    results = Results()
    loop = asyncio.get_running_loop()

    def act(transport: Any) -> None:
        loop.call_later(0.01, transport.write, ANSWER)  # it takes no CPU for all that time

    async with serving(lambda: Scripted(act)) as target:
        await load(target, results).closed(1.0)
    assert results.answers > 4
    assert results.seconds >= 1.0
    assert results.good


async def test_a_server_that_stalls_cannot_hide_it() -> None:
    """Two connections, held for 0.4 s: the other requests wait as well, and are timed."""

    results = Results()
    loop = asyncio.get_running_loop()
    up: list[float] = []  # 0.4 s after the first request

    def act(transport: Any) -> None:
        up.append(loop.time() + 0.4)
        loop.call_later(max(0, up[0] - loop.time()), transport.write, ANSWER)

    async with serving(lambda: Scripted(act)) as target:
        await load(target, results, connections=2).open(rate=100, seconds=0.4)
    times = results.all_times()
    assert times.count == 40
    assert times.percentile(50) > 0.15


async def test_what_is_refused_is_as_it_should_be_only_if_it_was_forged() -> None:
    async def main(mix: Mix) -> Results:
        results = Results()
        async with serving(lambda: Scripted(lambda t: t.write(FORBIDDEN))) as target:
            await load(target, results, mix).open(rate=500, seconds=0.1)
        return results

    assert (await main(Mix(forged=100))).good
    refused = await main(Mix())
    assert (refused.unexpected, refused.good) == (50, False)


async def test_a_connection_that_the_server_closes_is_an_error_and_the_next_is_made() -> None:
    results = Results()
    async with serving(lambda: Scripted(lambda t: t.close())) as target:
        await load(target, results).open(rate=200, seconds=0.1)
    assert results.errors.total() == 20
    assert not results.answers


async def test_what_is_never_answered_is_counted_with_the_time_it_was_waited_for() -> None:
    results = Results()
    stop = asyncio.Event()
    async with serving(lambda: Scripted(lambda _: stop.set())) as target:
        await load(target, results).open(rate=1000, seconds=30, stop=stop)
    assert set(results.errors) == {"no answer"}
    assert results.all_times().percentile(1) > 0.9  # seconds that an interrupted run still waits


def test_the_generator_knows_its_own_ceiling() -> None:
    target = Target.parse("https://bot.example.com")
    assert asyncio.run(ceiling(target, connections=4, seconds=0.2)) > 100


def test_all_connections_share_what_encrypts_them() -> None:
    first, second = (Target.parse(f"https://{name}.example.com") for name in "ab")
    assert first.context() is second.context() is not None
    assert Target.parse("http://a.example.com").context() is None


async def test_a_course_that_is_stopped_keeps_what_it_has() -> None:
    stop = asyncio.Event()
    seen = 0

    class Stopping(EmptyServer):
        def data_received(self, data: bytes) -> None:
            nonlocal seen
            super().data_received(data)
            seen += 1
            if seen > 20:
                stop.set()

    async with serving(Stopping) as target:
        options = BenchOptions(target, "AC", "made up", seconds=60, warm_up=0, ceiling=False)
        run = BenchRun(options, stop)
        await run.run()
    assert run.interrupted
    [phase] = run.phases
    assert phase.results.answers > 20
    assert run.as_object()["phases"][0]["statuses"] == {"200": phase.results.answers}
