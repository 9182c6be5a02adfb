"""Webhooks of many accounts: validated with their own tokens, deferred when these can't be had."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from offhook.cache.memory import MemoryCache
from offhook.core.deferred import Deferred
from offhook.core.forms import Refusal
from offhook.core.inbound import Webhook
from offhook.core.keys import Kind
from offhook.core.requests import Request
from offhook.core.responses import REFUSED, STORED, Fault
from offhook.errors import BacklogFull, StoreUnavailable
from offhook.events import Answered
from offhook.ingress.credentials import REFRESH_AFTER, Credentials
from offhook.ingress.deferral import (
    DEFERRED_LIMIT,
    DEFERRED_RATE,
    DeferralLimit,
)
from offhook.ingress.reception import Reception
from offhook.stores import open_store
from testing.stores import deferred
from testing.webhooks import (
    ACCOUNT,
    MESSAGE,
    SID,
    Fields,
    answered,
    changed,
    encoded,
    named,
    settings,
)
from tests.ingress.test_credentials import Source
from tests.ingress.test_reception import Watched, webhook

TENANT = "AC" + "7" * 32
STRANGER = "AC" + "8" * 32
THEIRS: Fields = changed(MESSAGE, AccountSid=TENANT)


class TenantReception(Watched):
    """A reception that asks a source for the tokens of tenants."""

    def __init__(self, *given: Any, source: Source, **more: Any) -> None:
        super().__init__(*given, **more)
        chosen = given[1]
        self.source = source
        self.now = 0.0
        self.credentials = Credentials(chosen, source, self.events.append, clock=lambda: self.now)
        self.reception = Reception(
            self.append,
            chosen,
            self.events.append,
            cache=MemoryCache(ttl=300.0),
            credentials=self.credentials,
        )


@asynccontextmanager
async def tenants(path: Path, **given: Any) -> AsyncIterator[TenantReception]:
    store = open_store(f"sqlite:///{path}/offhook.db")
    await store.open()
    made = TenantReception(store, settings(**given), source=Source(**{TENANT: "tenant's"}))
    try:
        yield made
    finally:
        await made.credentials.close()
        await store.close()


async def test_a_tenants_webhook_is_validated_with_the_tenants_token(tmp_path: Path) -> None:
    async with tenants(tmp_path) as at:
        told = await at.process(webhook(THEIRS, token="tenant's"))
        assert (told.status, told.deferred) == (200, False)
        assert at.accepted[0].account_sid == TENANT
        assert at.source.asked == [TENANT]


async def test_the_own_account_needs_nobody_to_be_asked(tmp_path: Path) -> None:
    async with tenants(tmp_path) as at:
        at.source.open.clear()
        assert (await at.process(webhook())).status == 200
        unnamed = await at.process(webhook(changed(MESSAGE, AccountSid=None)))
        assert unnamed.error == Fault.MISSING_ACCOUNT_SID
        assert at.source.asked == []


@pytest.mark.parametrize(
    "fields_and_token",
    [
        (MESSAGE, "tenant's"),  # the tenant signs for us
        (THEIRS, "d41d8cd98f00b204e9800998ecf8427e"),  # we sign for the tenant
        (changed(MESSAGE, AccountSid=STRANGER), "tenant's"),  # the tenant signs for another
        (changed(MESSAGE, AccountSid=STRANGER), "guessed"),
        (changed(MESSAGE, AccountSid="AC" + "7" * 33), "tenant's"),
        (changed(MESSAGE, AccountSid="' OR 1=1"), "tenant's"),
        ((("AccountSid", STRANGER), *THEIRS), "tenant's"),  # the first one counts
    ],
)
async def test_nobody_signs_for_another_account(
    tmp_path: Path, fields_and_token: tuple[Fields, str]
) -> None:
    async with tenants(tmp_path) as at:
        fields, token = fields_and_token
        told = await at.process(webhook(fields, token=token))
        assert (told.status, told.error) == (403, "signature-mismatch")
        assert at.accepted == []


async def test_an_unknown_account_is_refused_as_a_wrong_signature_is(tmp_path: Path) -> None:
    async with tenants(tmp_path) as at:
        await at.process(webhook(changed(MESSAGE, AccountSid=STRANGER), token="guessed"))
        await at.process(webhook(THEIRS, token="guessed"))
        assert at.answers == [REFUSED[Refusal.SIGNATURE_MISMATCH]] * 2


@pytest.mark.parametrize(
    ("request_", "error"),
    [
        (webhook(THEIRS)._replace(signature=""), "missing-signature"),
        (webhook(THEIRS)._replace(content_type="text/plain"), "unsupported-content-type"),
        (webhook(THEIRS)._replace(body=b"AccountSid=%zz"), "malformed-form"),
        (webhook(changed(MESSAGE, AccountSid="nobody")), "signature-mismatch"),
    ],
)
async def test_what_can_be_refused_at_once_is_not_asked_for(
    tmp_path: Path, request_: Request, error: str
) -> None:
    async with tenants(tmp_path) as at:
        at.source.open.clear()
        assert (await at.process(request_)).error == error
        assert at.source.asked == []


async def test_a_rotated_token_is_believed_within_seconds(tmp_path: Path) -> None:
    async with tenants(tmp_path) as at:
        await at.process(webhook(THEIRS, token="tenant's"))
        at.source.tokens[TENANT] = "rotated"
        at.now = REFRESH_AFTER
        told = await at.process(webhook(named(THEIRS, "SM" + "3" * 32), token="rotated"))
        assert told.status == 200
        for n in range(5):  # forged ones do not make it ask each time
            await at.process(webhook(changed(THEIRS, Body=str(n)), token="guessed"))
        assert at.source.asked == [TENANT, TENANT]


# Credentials that can't be had


async def test_a_source_that_takes_too_long_defers_the_request_as_it_came(tmp_path: Path) -> None:
    async with tenants(tmp_path, signature_timeout=0.05) as at:
        at.source.open.clear()
        request = webhook(THEIRS, token="tenant's")
        told = await at.process(request)
        assert at.answers == [STORED[Kind.MESSAGE]]
        assert (told.kind, told.status, told.deferred) == (Kind.MESSAGE, 200, True)
        (inbound,) = at.accepted
        assert (inbound.kind, inbound.notice_after) == (Kind.DEFERRED, None)
        assert (inbound.account_sid, inbound.sid) == (TENANT, SID)
        assert Deferred.of(inbound.form).request._replace(
            started=request.started
        ) == request._replace(other_bases=Deferred.of(inbound.form).request.other_bases)


async def test_a_source_that_fails_defers_too(tmp_path: Path) -> None:
    async with tenants(tmp_path) as at:
        at.source.error = OSError("away")
        assert (await at.process(webhook(THEIRS, token="tenant's"))).deferred


async def test_or_it_is_rejected_where_that_is_wanted(tmp_path: Path) -> None:
    async with tenants(tmp_path, on_signature_timeout="reject") as at:
        at.source.error = OSError("away")
        request = webhook(THEIRS, token="tenant's")
        told = await at.process(request)
        assert at.answers == [REFUSED[Fault.CREDENTIALS_UNAVAILABLE]]
        assert (told.status, told.error) == (503, "credentials-unavailable")
        assert "OSError" in told.detail
        at.source.error, at.now = None, 10.0
        assert (await at.process(request)).status == 200  # it was not held against it


async def test_a_forged_deferred_request_does_not_take_the_place_of_a_genuine_one(
    tmp_path: Path,
) -> None:
    async with tenants(tmp_path) as at:
        at.source.error = OSError("away")
        genuine = webhook(THEIRS, token="tenant's")
        forged = [
            webhook(THEIRS, token="guessed"),
            genuine._replace(body=encoded(changed(THEIRS, Body="Pay me"))),
        ]
        told = [await at.process(request) for request in (*forged, genuine, genuine)]
        assert [event.repeat for event in told] == [False, False, False, True]
        assert [event.cached for event in told] == [""] * 4  # nobody knows whether it is genuine
        at.source.error, at.now = None, 10.0
        assert not (await at.process(genuine)).repeat
        assert [inbound.kind for inbound in at.accepted] == [Kind.DEFERRED] * 4 + [Kind.MESSAGE]


def test_deferred_requests_of_one_conversation_stand_in_one_line_of_bounded_length() -> None:
    other = changed(THEIRS, From="+1" + "9" * 60_000)
    requests = [webhook(THEIRS), webhook(changed(THEIRS, Body="b")), webhook(other)]
    first, second, third = (deferred(request, TENANT) for request in requests)
    assert first.lane == second.lane != third.lane
    assert first.key != second.key
    assert len(third.lane) < 64
    assert third.sender == ""


def test_any_request_survives_being_deferred() -> None:
    odd = Request(
        Kind.STATUS,
        "GET",
        "https://b",
        "/\udcc3\x00é",
        b"\xff&%zz=+",
        None,
        "s\x00\xe9",
        b"\x00\xff",
        0.0,
    )
    fit = odd._replace(query=b"AccountSid=x&b=%C3%A9")
    restored = Deferred.of(deferred(fit, "").form).request
    assert restored == fit._replace(other_bases=restored.other_bases)


class Counted:
    """A store of which a number of messages is live."""

    def __init__(self, live: int) -> None:
        self.live = live
        self.counted = 0
        self.away = False
        self.accepted = 0

    async def backlog(self, at_most: int) -> int:
        self.counted += 1
        if self.away:
            raise StoreUnavailable("away")
        return min(self.live, at_most)

    async def accept(self, _webhook: Webhook) -> bool:
        self.accepted += 1
        return True


async def test_what_nobody_has_verified_is_bounded() -> None:
    now = 0.0
    store: Any = Counted(DEFERRED_LIMIT - 2)
    limit = DeferralLimit(store.accept, store.backlog, clock=lambda: now)
    unverified = Webhook(Kind.DEFERRED, b"")

    async def admitted(count: int) -> int:
        before = store.accepted
        for _ in range(count):
            with suppress(BacklogFull):
                await limit.admit(unverified)
        return int(store.accepted - before)

    assert await admitted(5) == 2
    assert store.counted == 1  # not for each: anybody can send them
    now, store.away = 1.0, True
    assert await admitted(5) == 0  # what can't be counted is not taken to be less
    now, store.away, store.live = 2.0, False, 0
    assert await admitted(5) == 5


async def test_a_worker_that_keeps_up_does_not_let_a_flood_through() -> None:
    now = 0.0
    store: Any = Counted(0)
    limit = DeferralLimit(store.accept, store.backlog, clock=lambda: now)
    unverified = Webhook(Kind.DEFERRED, b"")

    refused = 0
    for _ in range(2 * DEFERRED_LIMIT):
        now += 0.001
        try:
            await limit.admit(unverified)
        except BacklogFull:
            refused += 1
    earned = 2 * DEFERRED_LIMIT * 0.001 * DEFERRED_RATE
    assert abs(store.accepted - (DEFERRED_LIMIT + earned)) <= 1
    assert store.accepted + refused == 2 * DEFERRED_LIMIT


async def test_beyond_the_limit_a_request_is_answered_503(tmp_path: Path) -> None:
    async with tenants(tmp_path) as at:
        at.source.error = OSError("away")
        full: Any = Counted(DEFERRED_LIMIT)
        reception = Reception(
            at.append,
            settings(),
            at.events.append,
            credentials=at.credentials,
            defer=DeferralLimit(full.accept, full.backlog).admit,
        )
        answer = await answered(reception, webhook(THEIRS, token="tenant's"))
        assert answer == REFUSED[Fault.BACKLOG_FULL]
        assert isinstance(at.events[-1], Answered)
        assert not at.events[-1].deferred
        assert at.accepted == []


async def test_with_signatures_off_nobody_is_asked(tmp_path: Path) -> None:
    async with tenants(tmp_path, signature="off") as at:
        told = await at.process(webhook(THEIRS, token="guessed"))
        assert (told.status, at.source.asked) == (200, [])


def test_a_deferred_request_hides_what_was_written() -> None:
    inbound = deferred(webhook(THEIRS), TENANT)
    assert b"lsaecke" not in inbound.form
    assert inbound._asdict()["account_sid"] == TENANT
    assert ACCOUNT not in inbound.lane


async def test_nothing_is_deferred_for_another_host(tmp_path: Path) -> None:
    async with tenants(tmp_path, public_url="") as made:
        made.source.error = OSError("away")
        for host, status in (("other.example.com", 421), ("localhost", 200)):
            base = f"http://{host}"
            await made.process(webhook(THEIRS, base=base, url=f"{base}/twilio/messages"))
            assert made.answers[-1].status == status
        assert [inbound.kind for inbound in made.accepted] == [Kind.DEFERRED]
