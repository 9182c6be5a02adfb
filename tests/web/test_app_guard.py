"""A whole app behind a real server: its cache, its `@app.credentials`, and what is deferred."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from offhook import Message, Offhook
from offhook.core.forms import Refusal
from offhook.core.keys import Kind
from offhook.core.reasons import Cause, Error
from offhook.core.signature import sign
from offhook.errors import HandlerError
from offhook.events import Answered, Event, Handled
from testing.valkey import valkey
from testing.webhooks import (
    ACCOUNT,
    FORM,
    MESSAGE,
    PUBLIC,
    SID,
    TOKEN,
    Fields,
    changed,
    encoded,
    request,
    served,
)
from testing.webhooks import Line as Server
from tests.ingress.test_credentials import Source

TENANT = "AC" + "7" * 32


class Told:
    def __init__(self) -> None:
        self.events: list[Event] = []
        self._changed = asyncio.Event()

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        self._changed.set()

    async def until(self, kind: type[Event], count: int) -> list[Any]:
        async with asyncio.timeout(60):
            while len(found := [one for one in self.events if isinstance(one, kind)]) < count:
                self._changed.clear()
                await self._changed.wait()
        return found

    async def until_error(self, error: Error) -> None:
        """Wait for a run that ended so."""
        async with asyncio.timeout(60):
            while not any(isinstance(one, Handled) and one.error == error for one in self.events):
                self._changed.clear()
                await self._changed.wait()


def app_in(path: Path, told: Told, **given: Any) -> Offhook:
    defaults = {"auth_token": TOKEN, "account_sid": ACCOUNT, "public_url": PUBLIC}
    store = f"sqlite:///{path}/offhook.db"
    return Offhook(observers=[told], **{**defaults, "store": store, **given})


async def post(app: Offhook, fields: Fields, *, token: str = TOKEN) -> int:
    target = "/twilio/messages"
    signature = sign(url=PUBLIC + target, params=fields, auth_token=token)
    headers = {"Content-Type": FORM, "X-Twilio-Signature": signature}
    async with served(app) as port:
        server: Any = None
        reply = await Server(port, server).exchange(
            request("POST", target, encoded(fields), headers)
        )
        return reply.status


async def test_what_one_process_answered_the_next_knows_by_way_of_redis(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for module in ("redis", "redis_connection"):  # a busy machine may need more than 20 ms
        monkeypatch.setattr(f"offhook.cache.{module}.EXCHANGE_TIMEOUT", 60.0)

    with valkey(tmp_path / "valkey") as server:
        told = Told()
        for _ in range(2):
            app = app_in(tmp_path, told, worker="external", cache=server.url)
            async with app.lifespan():
                assert [await post(app, MESSAGE) for _ in range(2)] == [200, 200]
    answered = await told.until(Answered, 4)
    assert [event.cached for event in answered] == ["", "memory", "redis", "memory"]
    assert [event.repeat for event in answered] == [False, True, True, True]


async def test_a_cache_that_is_away_does_not_stop_the_start(tmp_path: Path) -> None:
    told = Told()
    app = app_in(tmp_path, told, worker="external", cache="redis://127.0.0.1:1/0")
    async with app.lifespan():
        assert [await post(app, MESSAGE) for _ in range(2)] == [200, 200]
    answered = await told.until(Answered, 2)
    assert [event.cached for event in answered] == ["", "memory"]


async def test_a_tenants_message_is_deferred_verified_and_handled(tmp_path: Path) -> None:
    told, source, seen = Told(), Source(**{TENANT: "tenant's"}), asyncio.Event()
    app = app_in(tmp_path, told)

    @app.credentials
    async def tokens(account_sid: str) -> Any:
        return await source(account_sid)

    @app.message()
    async def note(message: Message) -> None:
        assert (message.sid, message.account_sid) == (SID, TENANT)
        seen.set()

    theirs = changed(MESSAGE, AccountSid=TENANT)
    source.error = OSError("away")
    async with app.lifespan():
        assert await post(app, theirs, token="tenant's") == 200
        assert await post(app, theirs, token="guessed") == 200  # nobody knows yet
        source.error = None
        await asyncio.wait_for(seen.wait(), 60)
        await told.until_error(Cause.NOT_TWILIOS(Refusal.SIGNATURE_MISMATCH))
    messages = [one for one in await told.until(Handled, 1) if one.kind is Kind.MESSAGE]
    assert len(messages) == 1


def test_credentials_are_found_by_one_async_function() -> None:
    app = Offhook()
    with pytest.raises(HandlerError, match="async"):

        @app.credentials
        def tokens(account_sid: str) -> str:
            return ""

    @app.credentials
    async def first(account_sid: str) -> str:
        return ""

    with pytest.raises(HandlerError, match="already"):

        @app.credentials
        async def second(account_sid: str) -> str:
            return ""
