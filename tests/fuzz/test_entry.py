"""Whatever comes in is answered by name or stored: no exception, no 500, bounded memory.

`make test` fires a few thousand, `make fuzz` a million, of which each can be fired again:
FUZZ_SEED=n says which, FUZZ_REQUESTS how many.
"""

import asyncio
import os
import secrets
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from testing.memory import FULL, STEADY, Growth
from tests.fuzz.entry import TENANTS_TOKEN, Entry
from tests.fuzz.shots import MESSAGES, STATUS, TENANT, Gun, Shot

AT_ONCE = 64
LOOK_EVERY = 20_000


def seed() -> int:
    """Return the seed that is asked for in the environment, else a new one."""
    return int(os.environ.get("FUZZ_SEED") or secrets.randbits(32))


async def campaign(path: Path, gun: Gun, count: int, *, tenants: bool) -> None:
    began = time.monotonic()
    async with Entry(path, tenants=tenants).opened() as entry:
        growth, steady, fired = None, None, 0
        numbers = iter(range(count))

        async def client() -> None:
            nonlocal growth, steady, fired
            for number in numbers:
                await entry.fire(gun.shot(number), gun.dice(number))
                fired += 1
                if fired % LOOK_EVERY == 0:
                    growth = growth or Growth()  # by now the interpreter has made itself at home
                    growth.look()
                    if fired >= FULL:
                        steady = steady or Growth(bound=STEADY)
                        steady.look()

        async with asyncio.TaskGroup() as group:
            for _ in range(AT_ONCE):
                group.create_task(client())
        await entry.check_store()
    assert fired == count
    took = time.monotonic() - began
    tenant = ", tokens looked up" if tenants else ""
    print(f"\n{count:,} requests in {took:.0f} s{tenant}; {entry.stored:,} stored; {growth}")
    if steady is not None:
        print(f"  and after {FULL:,}: {steady}")
    for (status, error), times in sorted(entry.answers.items()):
        print(f"  {status} {error:26} {times:9,}")
    assert {status for status, _ in entry.answers} >= {200, 204, 400, 403, 404, 405, 415}
    assert entry.stored > count / 100


@pytest.fixture(autouse=True)
def _patience_with_the_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("offhook.web.health.READY_TIMEOUT", 60.0)  # a busy machine is ready too


@pytest.mark.parametrize("tenants", [False, True])
def test_some_thousand_requests(tmp_path: Path, tenants: bool) -> None:
    gun = Gun(1, {TENANT: TENANTS_TOKEN} if tenants else None)
    uvloop.run(campaign(tmp_path, gun, 1_500, tenants=tenants))


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_a_million_requests(tmp_path: Path) -> None:
    chosen, count = seed(), int(os.environ.get("FUZZ_REQUESTS", "1000000"))
    print(f"\nFUZZ_SEED={chosen}")
    parts = {
        "own": (Gun(chosen), count * 4 // 5),
        "tenants": (Gun(chosen, {TENANT: TENANTS_TOKEN}), count // 5),
    }
    for name, (gun, part) in parts.items():
        (tmp_path / name).mkdir()
        uvloop.run(campaign(tmp_path / name, gun, part, tenants=name == "tenants"))


@pytest.fixture(scope="module")
def entry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[asyncio.Runner, Entry]]:
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        opened = Entry(tmp_path_factory.mktemp("entry")).opened()
        yield runner, runner.run(opened.__aenter__())
        runner.run(opened.__aexit__(None, None, None))


# Values of any bytes, and those in which one letter more or less changes what is meant.
VALUES = st.binary(max_size=200) | st.sampled_from(
    [b"application/x-www-form-urlencoded", b"APPLICATION/X-WWW-FORM-URLENCODED;charset=UTF-8;;",
     b"0", b"65536", b"65537", b"+1", b"https", b"bot.example.com"]
)  # fmt: skip
NAMES = st.sampled_from(
    [b"content-type", b"content-length", b"x-twilio-signature", b"host", b"x-forwarded-proto",
     b"x-forwarded-host", b"x-forwarded-prefix"]
)  # fmt: skip
SHOTS = st.builds(
    Shot,
    method=st.sampled_from([b"GET", b"POST", b"HEAD", b"PATCH"]),
    path=st.sampled_from([MESSAGES.encode(), STATUS.encode(), b"/", b"/readyz"]),
    query=st.binary(max_size=300),
    headers=st.lists(st.tuples(NAMES, VALUES), max_size=6).map(tuple),
    body=st.binary(max_size=2_000),
)


@hypothesis_settings(
    max_examples=150,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(shot=SHOTS, number=st.integers(0, 1000))
def test_any_request_has_an_answer(
    entry: tuple[asyncio.Runner, Entry], shot: Shot, number: int
) -> None:
    runner, into = entry
    runner.run(into.fire(shot, Gun(2).dice(number)))
    assert into.stored == 0


def test_a_shot_is_the_same_in_every_run() -> None:
    assert [Gun(7).shot(n) for n in range(50)] == [Gun(7).shot(n) for n in range(50)]
    assert Gun(7).shot(1) != Gun(8).shot(1)
