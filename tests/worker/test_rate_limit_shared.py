"""Senders are counted in windows of the time of receipt, together as far as Redis can be asked."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from offhook.errors import SettingsError
from offhook.events import Event, Problem
from offhook.ports import Admission, SenderLimit
from offhook.worker import shared_rate_limit
from offhook.worker.rate_limit import (
    LATE,
    SENDERS,
    LocalLimit,
    Windows,
    open_sender_limit,
)
from offhook.worker.shared_rate_limit import PAUSE, SharedLimit
from testing.valkey import Valkey, valkey
from testing.webhooks import ACCOUNT, TOKEN, settings

ANN, BOB = "+15551230001", "whatsapp:+15551230002"
YES, FIRST, NO = Admission.ADMITTED, Admission.FIRST_EXCESS, Admission.EXCESS
# A window that does not end while a test is run; Redis has its own clock.
WINDOW = 3600


@pytest.fixture(autouse=True)
def _patience_with_redis(monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine may need more than 0.1 s.
    monkeypatch.setattr(shared_rate_limit, "PATIENCE", 60.0)


def opened(observer: Callable[[Event], None] = print, **given: Any) -> SenderLimit:
    limit = open_sender_limit(settings(sender_limit="2/hour", **given), observer)
    if limit is None:
        raise AssertionError("there is a limit")
    return limit


async def admit(limit: SenderLimit, sender: str = ANN, received: float = 0.0) -> Admission:
    return await limit.admit(ACCOUNT, sender, received)


def test_there_is_none_unless_it_is_asked_for() -> None:
    assert open_sender_limit(settings(), print) is None


async def test_each_sender_has_a_count_of_each_window() -> None:
    limit = opened()
    assert [await admit(limit) for _ in range(5)] == [YES, YES, FIRST, NO, NO]
    assert await admit(limit, BOB) is YES
    assert await limit.admit("AC" + "9" * 32, ANN, 0.0) is YES
    # What has waited for a worker counts where it was received, and not where it is run.
    late = [await admit(limit, received=WINDOW * n + 1.0) for n in range(1, 40)]
    assert late == [YES] * 39
    await limit.close()


async def test_a_count_outlives_the_time_that_its_messages_take_to_handle() -> None:
    """60 messages of one minute, and a handler of 5 s: the last is run five minutes later."""

    now = 1_000.0
    limit = LocalLimit(Windows(20, 60, [TOKEN]), clock=lambda: now)
    found = []
    for _ in range(60):
        found.append(await admit(limit))
        now += 5.0
    assert found == [YES] * 20 + [FIRST] + [NO] * 39
    now += 60 + LATE
    assert await admit(limit) is YES, "it is forgotten in the end"


async def test_workers_that_share_a_redis_count_together(tmp_path: Path) -> None:
    with valkey(tmp_path, password="secret") as server:
        one, other = (opened(cache=server.url) for _ in range(2))
        found = [await admit(limit) for _ in range(2) for limit in (one, other)]
        assert found == [YES, YES, FIRST, NO]
        await one.close()
        await other.close()
        with server.client() as client:
            keys = client.keys("*")
            assert keys
            assert all(client.ttl(key) > WINDOW for key in keys)
            assert not any(b"1555" in key for key in keys), "Redis holds nobody's number"


class Away:
    """A Redis that is taken away, and a clock to wait for it."""

    def __init__(self, server: Valkey) -> None:
        self.now = 100.0
        self.told: list[Event] = []
        self.limit = SharedLimit(
            Windows(2, WINDOW, [TOKEN]), server.url, self.told.append, clock=self.clock
        )

    def clock(self) -> float:
        return self.now

    def oks(self) -> list[bool]:
        return [event.resolved for event in self.told if isinstance(event, Problem)]


@pytest.mark.parametrize("how", ["killed", "frozen"])
async def test_while_redis_is_away_each_worker_counts_for_itself(
    tmp_path: Path, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if how == "frozen":
        monkeypatch.setattr(shared_rate_limit, "PATIENCE", 2.0)

    with valkey(tmp_path) as server:
        away = Away(server)
        assert [await admit(away.limit) for _ in range(3)] == [YES, YES, FIRST]
        (server.kill if how == "killed" else server.freeze)()
        try:
            assert [await admit(away.limit) for _ in range(4)] == [YES, YES, FIRST, NO]
            assert away.oks() == [False]
        finally:
            (server.start if how == "killed" else server.thaw)()
        assert await admit(away.limit) is NO, "not asked again so soon"
        away.now += PAUSE
        if how == "killed":
            assert await admit(away.limit) is YES, "it has forgotten all"
        else:
            assert await admit(away.limit) is NO
        assert away.oks() == [False, True]
        await away.limit.close()


async def test_memory_is_bounded_and_forgets_the_silent_first() -> None:
    now = 0.0
    limit = LocalLimit(Windows(2, 60, [TOKEN]), clock=lambda: now)
    assert [await admit(limit) for _ in range(2)] == [YES, YES]
    for n in range(SENDERS - 1):
        await admit(limit, f"{n}")
    assert await admit(limit) is FIRST
    assert [await admit(limit, "1") for _ in range(2)] == [YES, FIRST]
    await admit(limit, "one more")
    assert [await admit(limit, "0") for _ in range(2)] == [YES, YES], "forgotten"
    assert await admit(limit) is NO
    now = 60.0 + LATE
    assert await admit(limit) is YES


@pytest.mark.parametrize("url", ["redis://host:port/0", "redis://:hu#sh@host:6379/0"])
def test_a_cache_that_can_not_be_read_is_named_without_its_password(url: str) -> None:
    with pytest.raises(SettingsError, match=r"OFFHOOK_CACHE.*percent-encode") as refused:
        opened(cache=url)
    assert "hu" not in str(refused.value).replace("OFFHOOK_CACHE", "")
