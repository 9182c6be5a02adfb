"""Tokens of many accounts: found once, shared, renewed, and never waited for in vain."""

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from offhook.core.account import AccountCredentials
from offhook.errors import ConfigurationError, CredentialsUnavailable
from offhook.events import Event, Problem
from offhook.ingress.credentials import (
    FAILED_TTL,
    FAILING_FOR,
    KNOWN_TTL,
    LOGIN_PATIENCE,
    MAX_LOOKUPS,
    REFRESH_AFTER,
    UNKNOWN_TTL,
    Credentials,
)
from offhook.settings import Settings

OWN, ANN, BOB = ("AC" + digit * 32 for digit in "012")

Given = AccountCredentials | str | Sequence[str] | None


class Source:
    """Where a user's function looks accounts up."""

    def __init__(self, **tokens: Given) -> None:
        self.tokens: dict[str, Given] = tokens
        self.asked: list[str] = []
        self.open = asyncio.Event()
        self.open.set()
        self.error: Exception | None = None
        self._called = asyncio.Event()

    async def called(self, times: int) -> None:
        async with asyncio.timeout(60):
            while len(self.asked) < times:
                self._called.clear()
                await self._called.wait()

    async def __call__(self, account_sid: str) -> Given:
        self.asked.append(account_sid)
        self._called.set()
        await self.open.wait()
        if self.error is not None:
            raise self.error
        return self.tokens.get(account_sid)


class Bench:
    def __init__(self, source: Source | None) -> None:
        self.now = 0.0
        self.events: list[Event] = []
        settings = Settings.load(env_file=None, account_sid=OWN, auth_token="own,older")
        self.credentials = Credentials(settings, source, self.events.append, clock=lambda: self.now)

    @property
    def problems(self) -> list[bool]:
        return [event.resolved for event in self.events if isinstance(event, Problem)]


def test_without_a_function_all_accounts_have_the_settings_tokens() -> None:
    bench = Bench(None)
    assert bench.credentials.everywhere == ("own", "older")


async def test_the_own_account_is_not_asked_for() -> None:
    source = Source()
    assert await Bench(source).credentials.find(OWN) == ("own", "older")
    assert source.asked == []


@pytest.mark.parametrize(
    ("given", "read"),
    [("t", ("t",)), (["new", "old"], ("new", "old")), (("t", ""), ("t",))],
)
async def test_tokens_are_asked_for_once_in_five_minutes(
    given: Given, read: tuple[str, ...]
) -> None:
    source = Source(**{ANN: given})
    bench = Bench(source)
    for moment in (0.0, KNOWN_TTL - 1, KNOWN_TTL + 1):
        bench.now = moment
        assert await bench.credentials.find(ANN) == read
    assert source.asked == [ANN, ANN]


@pytest.mark.parametrize("given", [None, "", [], [""]])
async def test_an_unknown_account_gets_a_token_that_nobody_has(given: Given) -> None:
    source = Source(**{ANN: given})
    bench = Bench(source)
    (token,) = await bench.credentials.find(ANN)
    assert len(token) == 32
    assert await bench.credentials.find("") == (token,)  # nobody's request at all
    assert source.asked == [ANN]
    source.tokens[ANN] = "t"
    bench.now = UNKNOWN_TTL
    assert await bench.credentials.find(ANN) == ("t",)


async def test_many_who_ask_for_one_account_share_one_call() -> None:
    source = Source(**{ANN: "a", BOB: "b"})
    source.open.clear()
    bench = Bench(source)
    asking = [asyncio.create_task(bench.credentials.find(account)) for account in (ANN, BOB) * 20]
    await source.called(2)
    source.open.set()
    assert await asyncio.gather(*asking) == [("a",), ("b",)] * 20
    assert source.asked == [ANN, BOB]


async def test_a_call_goes_on_when_who_asked_has_lost_patience() -> None:
    source = Source(**{ANN: "a"})
    source.open.clear()
    bench = Bench(source)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(bench.credentials.find(ANN), 0.01)
    source.open.set()
    assert await bench.credentials.find(ANN) == ("a",)
    assert source.asked == [ANN]


@pytest.mark.parametrize(
    ("error", "wrong"),
    [(OSError("the database is away: password=hush"), None), (None, 7), (None, "\udcff")],
)
async def test_a_failure_is_told_once_without_its_words_and_not_repeated_at_once(
    error: Exception | None, wrong: object
) -> None:
    source = Source()
    source.error = error
    source.tokens[ANN] = wrong  # type: ignore[assignment]  # a mistake of the user's
    bench = Bench(source)
    for _ in range(3):
        with pytest.raises(CredentialsUnavailable):
            await bench.credentials.find(ANN)
    assert source.asked == [ANN]
    source.error, source.tokens[ANN] = None, "a"
    bench.now = FAILED_TTL
    assert await bench.credentials.find(ANN) == ("a",)
    assert bench.problems == [False, True]
    assert "hush" not in repr(bench.events)


async def test_only_so_many_accounts_are_looked_up_at_once() -> None:
    source = Source()
    source.open.clear()
    bench = Bench(source)
    asking = [
        asyncio.create_task(bench.credentials.find(f"AC{n + 1:032x}")) for n in range(MAX_LOOKUPS)
    ]
    await source.called(MAX_LOOKUPS)
    with pytest.raises(CredentialsUnavailable):
        await bench.credentials.find(ANN)
    await bench.credentials.close()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert all(isinstance(one, asyncio.CancelledError) for one in ended)


async def test_made_up_accounts_push_out_no_known_one() -> None:
    source = Source(**{ANN: "a"})
    bench = Bench(source)
    await bench.credentials.find(ANN)
    for n in range(12_000):
        await bench.credentials.find(f"ACff{n:030x}")
    source.asked.clear()
    assert await bench.credentials.find(ANN) == ("a",)
    assert source.asked == []


async def test_a_rotated_token_is_asked_for_when_the_old_one_does_not_fit() -> None:
    source = Source(**{ANN: "old"})
    bench = Bench(source)
    await bench.credentials.find(ANN)
    source.tokens[ANN] = "new"
    assert await bench.credentials.renewed(ANN) is None  # asked a moment ago
    bench.now = REFRESH_AFTER
    assert await bench.credentials.renewed(ANN) == ("new",)
    assert await bench.credentials.find(ANN) == ("new",)
    bench.now = 2 * REFRESH_AFTER
    assert await bench.credentials.renewed(ANN) is None  # nothing newer
    source.error, bench.now = OSError(), 3 * REFRESH_AFTER
    with pytest.raises(CredentialsUnavailable):
        await bench.credentials.renewed(ANN)
    assert await bench.credentials.renewed(BOB) is None  # never known
    assert source.asked == [ANN] * 4


KEYED = AccountCredentials(["new", "old"], api_key="SK1", api_key_secret="hush")


@pytest.mark.parametrize(
    ("given", "tokens", "login"),
    [
        ("t", ("t",), (OWN, "own")),  # a subaccount: the settings' account sends for it
        (["new", "old"], ("new", "old"), (OWN, "own")),
        (AccountCredentials("t"), ("t",), (ANN, "t")),
        (AccountCredentials(["new", "old"]), ("new", "old"), (ANN, "new")),
        (KEYED, ("new", "old"), ("SK1", "hush")),
    ],
)
async def test_a_separate_account_logs_in_by_itself(
    given: Given, tokens: tuple[str, ...], login: tuple[str, str]
) -> None:
    source = Source(**{ANN: given})
    bench = Bench(source)
    assert await bench.credentials.login(ANN) == login
    assert await bench.credentials.find(ANN) == tokens
    assert await bench.credentials.login(OWN) == (OWN, "own")
    assert source.asked == [ANN]


async def test_no_account_gets_the_login_of_another() -> None:
    source = Source()
    source.tokens = {ANN: KEYED, BOB: "b"}
    bench = Bench(source)
    with pytest.raises(CredentialsUnavailable, match="does not know"):
        await bench.credentials.login("AC" + "9" * 32)
    source.error = OSError()
    with pytest.raises(CredentialsUnavailable):
        await bench.credentials.login(ANN)
    source.error = None
    source.open.clear()
    began = asyncio.create_task(bench.credentials.login(BOB))
    await source.called(3)
    bench.now += 2 * LOGIN_PATIENCE  # one that comes now does not wait for it any more
    with pytest.raises(CredentialsUnavailable, match="too long"):
        await bench.credentials.login(BOB)
    source.open.set()
    assert await began == (OWN, "own")


async def test_what_twilio_refuses_is_asked_for_again_once_a_second() -> None:
    source = Source(**{ANN: KEYED})
    bench = Bench(source)
    await bench.credentials.login(ANN)
    bench.credentials.refused(ANN)
    assert await bench.credentials.login(ANN) == ("SK1", "hush")  # asked a moment ago
    source.tokens[ANN] = AccountCredentials("t")
    bench.now = REFRESH_AFTER
    for _ in range(3):
        assert await bench.credentials.login(ANN) == (ANN, "t")
    assert source.asked == [ANN] * 2


async def test_the_problem_lasts_until_no_account_has_it() -> None:
    source = Source(**{ANN: "a"})
    source.tokens[BOB] = 7  # type: ignore[assignment]  # a mistake of the user's
    bench = Bench(source)
    for _ in range(2):
        bench.now += UNKNOWN_TTL
        with pytest.raises(CredentialsUnavailable):
            await bench.credentials.login(BOB)
        await bench.credentials.find(ANN)
        bench.credentials.refused(ANN)
    assert bench.problems == [False]
    bench.now += FAILING_FOR  # it is not asked for any more
    await bench.credentials.find(f"AC{'8' * 32}")
    assert bench.problems == [False, True]


def test_credentials_say_no_secret_and_are_whole() -> None:
    assert "hush" not in repr(KEYED) + repr(KEYED.login(ANN))
    assert "new" not in repr(KEYED)
    wrong: list[dict[str, Any]] = [
        {"auth_token": ""},
        {"auth_token": 7},
        {"auth_token": "t", "api_key": "SK1"},
        {"auth_token": "t", "api_key_secret": "s"},
    ]
    for given in wrong:
        with pytest.raises(ConfigurationError):
            AccountCredentials(**given)
