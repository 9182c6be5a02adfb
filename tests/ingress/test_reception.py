"""The reception alone: answered after it is stored, reported once, with the reason."""

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter
from typing import Any

import pytest

from offhook.arrivals.direct import reading
from offhook.core.forms import Refusal
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind, dedupe_key
from offhook.core.requests import Request
from offhook.core.responses import REFUSED, STORED, Answer, Fault
from offhook.core.signature import sign
from offhook.events import Answered, Event, Problem, Topic
from offhook.ingress.reception import Reception
from offhook.ingress.validation import DIAGNOSIS_INTERVAL
from offhook.settings import Settings
from offhook.stores import open_store
from offhook.stores.api import Store
from testing.webhooks import (
    ACCOUNT,
    FORM,
    MESSAGE,
    PUBLIC,
    SID,
    STATUS,
    TOKEN,
    Fields,
    changed,
    encoded,
    settings,
)

Accept = Callable[[Inbound], Awaitable[bool]]


class Watched:
    """A reception on a real store, and all that came of it."""

    def __init__(self, store: Store, chosen: Settings, accept: Accept | None = None) -> None:
        self.store = store
        self.accepted: list[Inbound] = []
        self.answers: list[Answer] = []
        self.events: list[Event] = []
        self._accept = accept or store.accept
        self.append = reading(self.accept)
        self.reception = Reception(self.append, chosen, self.events.append)

    async def accept(self, inbound: Inbound) -> bool:
        self.accepted.append(inbound)
        return await self._accept(inbound)

    async def process(self, request: Request) -> Answered:
        outcome = await self.reception.receive(request)
        self.answers.append(outcome.answer)
        self.reception.report(outcome)
        told = self.events[-1]
        assert isinstance(told, Answered)
        assert len(self.answers) == sum(isinstance(event, Answered) for event in self.events)
        return told


def webhook(
    fields: Fields = MESSAGE,
    *,
    kind: Kind = Kind.MESSAGE,
    url: str = PUBLIC + "/twilio/messages",
    base: str = PUBLIC,
    query: bytes = b"",
    token: str = TOKEN,
    others: tuple[str, ...] = (),
    started: float | None = None,
) -> Request:
    """Return a POST that came to `base`, and was signed for `url`."""
    return Request(
        kind=kind,
        method="POST",
        base=base,
        path="/twilio/messages",
        query=query,
        content_type=FORM,
        signature=sign(url=url, params=fields, auth_token=token),
        body=encoded(fields),
        started=perf_counter() if started is None else started,
        other_bases=lambda: others,
    )


@asynccontextmanager
async def watching(
    path: Path, *, accept: Accept | None = None, **given: Any
) -> AsyncIterator[Watched]:
    store = open_store(f"sqlite:///{path}/offhook.db")
    await store.open()
    try:
        yield Watched(store, settings(**given), accept)
    finally:
        await store.close()


async def test_what_is_acknowledged_is_committed_by_then(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        outcome = await watched.reception.receive(webhook())
        assert outcome.answer == STORED[Kind.MESSAGE]
        other = sqlite3.connect(tmp_path / "offhook.db")
        assert other.execute("SELECT count(*) FROM messages").fetchone() == (1,)
        other.close()
        assert watched.events == []  # reported afterwards: that must not delay the answer
        watched.reception.report(outcome)
        assert len(watched.events) == 1


async def test_a_webhook_becomes_what_the_store_is_to_know(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        await watched.process(webhook())
        assert watched.accepted == [
            Inbound(
                kind=Kind.MESSAGE,
                key=dedupe_key(Kind.MESSAGE, dict(MESSAGE)),
                lane=f"{ACCOUNT}|+14155550100|+14155550199",
                account_sid=ACCOUNT,
                sid=SID,
                sender="+14155550199",
                recipient="+14155550100",
                form=encoded(MESSAGE),
                notice_after=10.0,
            )
        ]


@pytest.mark.parametrize(
    ("kind", "fields", "given"),
    [
        (Kind.MESSAGE, changed(MESSAGE, Body=" stop "), {}),
        (Kind.MESSAGE, changed(MESSAGE, OptOutType="HELP"), {}),
        (Kind.MESSAGE, MESSAGE, {"slow_notice": ""}),
        (Kind.STATUS, STATUS, {}),
    ],
)
async def test_nobody_is_told_to_wait_who_is_owed_no_reply(
    tmp_path: Path, kind: Kind, fields: Fields, given: dict[str, Any]
) -> None:
    async with watching(tmp_path, **given) as watched:
        await watched.process(webhook(fields, kind=kind))
        assert [inbound.notice_after for inbound in watched.accepted] == [None]


async def test_another_account_that_signs_with_our_token_is_believed(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        await watched.process(webhook(changed(MESSAGE, AccountSid="AC" + "9" * 32)))
        assert watched.accepted[0].account_sid == "AC" + "9" * 32


async def test_a_forged_request_is_told_without_what_it_claims(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        told = await watched.process(webhook(token="somebody-elses"))
        assert (told.status, told.sid, told.sender) == (403, "", "")
        assert watched.accepted == []


async def test_without_a_token_nothing_is_believed(tmp_path: Path) -> None:
    async with watching(tmp_path, auth_token="") as watched:
        told = await watched.process(webhook())
        assert (told.status, told.error) == (503, "no-auth-token")
        assert told.detail == "TWILIO_AUTH_TOKEN is not set"


# Why a signature did not fit


@pytest.mark.parametrize(
    "fitting",
    ["http://bot.example.com", "https://tunnel.example.net", "https://bot.example.com/prefix"],
)
async def test_the_operator_is_told_which_url_would_have_fitted(
    tmp_path: Path, fitting: str
) -> None:
    others = (PUBLIC, "https://no.example", fitting)

    async with watching(tmp_path) as watched:
        told = await watched.process(webhook(url=fitting + "/twilio/messages", others=others))
        assert told.error == "signature-mismatch"
        assert told.detail == (
            "the signature was checked for 'https://bot.example.com/twilio/messages', "
            f"but it is valid for '{fitting}/twilio/messages': set OFFHOOK_PUBLIC_URL={fitting}"
        )


async def test_the_operator_is_told_when_no_url_would_have_fitted(tmp_path: Path) -> None:
    async with watching(tmp_path) as watched:
        told = await watched.process(
            webhook(token="somebody-elses", others=("http://a", "http://b"))
        )
        assert "fits none of 2 likely others" in told.detail
        assert "TWILIO_AUTH_TOKEN is not the token of the account" in told.detail


@pytest.mark.parametrize("base", ["http://10.0.0.5:8000", "http://localhost:8000", "https://bot"])
async def test_with_the_public_url_set_a_wrong_token_is_not_blamed_on_it(
    tmp_path: Path, base: str
) -> None:
    async with watching(tmp_path, public_url=base) as watched:
        url = f"{base}/twilio/messages"
        told = await watched.process(webhook(url=url, token="somebody-elses")._replace(base=base))
        assert told.error == "signature-mismatch"
        assert "set OFFHOOK_PUBLIC_URL" not in told.detail
        assert "TWILIO_AUTH_TOKEN is not the token of the account" in told.detail


@pytest.mark.parametrize(
    ("signed", "change"),
    [
        ("/twilio/messages/", "with a slash at its end"),
        ("/twilio/messages/?a=1", "with a slash at its end"),
        ("/twilio/messages", "without its query"),
    ],
)
async def test_the_operator_is_told_when_the_path_was_changed(
    tmp_path: Path, signed: str, change: str
) -> None:
    async with watching(tmp_path) as watched:
        query = b"a=1" if change == "without its query" or "?" in signed else b""
        request = webhook(url=PUBLIC + signed)._replace(query=query)
        told = await watched.process(request)
        path = signed.partition("?")[0]
        assert f"but it is valid for '{PUBLIC}{path}' {change}: a proxy has to" in told.detail


async def test_the_operator_is_told_when_nothing_names_the_public_url(tmp_path: Path) -> None:
    async with watching(tmp_path, public_url="") as watched:
        request = webhook(url="https://bot.example.com/twilio/messages")
        told = await watched.process(request._replace(base="http://10.0.0.5:8000"))
        assert told.detail.endswith("set OFFHOOK_PUBLIC_URL to it")


async def test_only_a_few_urls_are_tried(tmp_path: Path) -> None:
    fitting = "https://last.example"
    others = (*(f"https://{n}.example" for n in range(32)), fitting)

    async with watching(tmp_path) as watched:
        told = await watched.process(webhook(url=fitting + "/twilio/messages", others=others))
        assert "fits none of 32 likely others" in told.detail


async def test_a_query_and_a_signature_that_are_no_text_are_no_mistake_of_ours(
    tmp_path: Path,
) -> None:
    async with watching(tmp_path) as watched:
        forged = webhook(query=b"Body=\xc0", others=("https://elsewhere.example.com",))
        for signature in ("\xc0", "A" * 28):
            told = await watched.process(
                forged._replace(method="GET", signature=signature, started=perf_counter() + 60)
            )
            assert told.status in {400, 403}


async def test_a_flood_of_forgeries_is_looked_into_once_a_second(tmp_path: Path) -> None:
    def forged(started: float) -> Request:
        return webhook(token="somebody-elses", others=("http://a.example",), started=started)

    async with watching(tmp_path) as watched:
        start = perf_counter()
        told = [
            await watched.process(forged(start + after))
            for after in (0.0, 0.1, DIAGNOSIS_INTERVAL - 0.1, DIAGNOSIS_INTERVAL + 0.1)
        ]
        looked_into = ["likely others" in event.detail for event in told]
        assert looked_into == [True, False, False, True]
        assert all("checked for 'https://bot.example.com" in event.detail for event in told)


async def test_nothing_that_was_written_is_told(tmp_path: Path) -> None:
    query = encoded(MESSAGE)
    signature = sign(url="https://other.example/twilio/messages?x", auth_token=TOKEN)

    async with watching(tmp_path) as watched:
        get = Request(
            Kind.MESSAGE, "GET", PUBLIC, "/twilio/messages", query, None, signature, b"", 0.0
        )
        told = await watched.process(get)
        post = webhook(token="somebody-elses", others=("https://other.example",))
        told_too = await watched.process(post)
        for text in (repr(told), repr(told_too), repr(get), repr(post)):
            assert "Body" not in text
            assert "lsäcke" not in text
            assert signature not in text
            assert post.signature not in text


# What nobody has foreseen


async def test_an_unforeseen_error_is_answered_503_and_told_without_its_text(
    tmp_path: Path,
) -> None:
    async def broken(_inbound: Inbound) -> bool:
        raise ZeroDivisionError("quotes what a person wrote")

    async with watching(tmp_path, accept=broken) as watched:
        told = await watched.process(webhook())
        assert watched.answers == [REFUSED[Fault.INTERNAL_ERROR]]
        assert (told.status, told.error) == (503, "internal-error")
        problem = watched.events[0]
        assert isinstance(problem, Problem)
        assert problem.topic is Topic.INTERNAL_ERROR
        assert problem.text.startswith("ZeroDivisionError at test_reception.py:")
        assert "person" not in repr(watched.events)


async def test_an_unforeseen_error_before_the_store_is_answered_503_too(tmp_path: Path) -> None:
    def broken() -> tuple[str, ...]:
        raise LookupError("no bases")

    async with watching(tmp_path) as watched:
        request = webhook(token="somebody-elses")
        told = await watched.process(
            Request(
                request.kind, request.method, request.base, request.path, request.query,
                request.content_type, request.signature, request.body, request.started, broken,
            )
        )  # fmt: skip
        assert (told.status, told.error) == (503, "internal-error")
        assert watched.accepted == []


async def test_a_cancelled_request_is_not_answered(tmp_path: Path) -> None:
    reached = asyncio.Event()

    async def hangs(_inbound: Inbound) -> bool:
        reached.set()
        await asyncio.Event().wait()
        return True

    async with watching(tmp_path, accept=hangs) as watched:
        task = asyncio.create_task(watched.process(webhook()))
        await reached.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert (watched.answers, watched.events) == ([], [])


# The answers


@pytest.mark.parametrize("reason", [*Fault, *Refusal])
def test_every_reason_has_an_answer_that_no_person_receives(reason: Fault | Refusal) -> None:
    answer = REFUSED[reason]
    headers = dict(answer.headers)
    assert 400 <= answer.status < 600
    assert answer.error == reason.value
    assert headers[b"x-offhook-error"] == reason.encode()
    assert headers[b"content-type"] == b"text/xml"
    assert headers[b"content-length"] == str(len(answer.body)).encode()
