"""The dashboard's pages about replies: what was not delivered is found, sent again or cancelled."""

import asyncio
import html
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from pathlib import Path

import httpx2
import pytest

from offhook.admin import Dashboard
from offhook.core.lifecycle import Delivery, SendState, SendTrigger, Trigger
from offhook.core.messages import Template
from offhook.observe.system import Snapshot
from offhook.settings import Settings
from offhook.stores.api import Filter, SendFilter, SendOutcome, SendRequest, Settlement, Store
from testing.plain_http import PlainAsyncClient
from testing.stores import claim_one, draft, inbound, opened

PERSON = "+15551230001"  # to whom `draft` writes
OUTCOMES = {
    SendState.PENDING: SendOutcome(SendTrigger.POSTPONE, error_code="63038", error="No.", delay=99),
    SendState.FAILED: SendOutcome(SendTrigger.REFUSE, error_code="21610", error=f"Not {PERSON}."),
    SendState.UNDELIVERED: SendOutcome(SendTrigger.ACCEPT, sid="SMout", status="queued"),
    SendState.UNKNOWN: SendOutcome(SendTrigger.LOSE, error="no answer was read"),
}
STATES = tuple(OUTCOMES)


async def look() -> Snapshot:
    return Snapshot(0.0, {}, (), None)


@asynccontextmanager
async def visited(path: Path) -> AsyncIterator[tuple[httpx2.AsyncClient, Store]]:
    """Serve the pages of a store with a reply in each state, numbered as in `STATES`."""
    async with opened(path / "offhook.db") as store:
        for number, outcome in enumerate(OUTCOMES.values()):
            await store.accept(inbound(f"SM{number}", f"{number}"))
            drafts = (draft("return:0", f"secret {number}"),)
            await store.settle(await claim_one(store), Settlement(Trigger.COMPLETE, drafts=drafts))
            (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
            await store.settle_send(sending, outcome)
        await store.record_delivery(
            None, "SMout", Delivery("undelivered", "63016"), account_sid="AC1"
        )
        dashboard = Dashboard(lambda: store, look, Settings.load(env_file=None))
        transport = httpx2.ASGITransport(app=dashboard.app)
        async with (
            dashboard.running(),
            PlainAsyncClient(transport=transport, base_url="http://127.0.0.1") as client,
        ):
            yield client, store


async def states(store: Store) -> list[str]:
    return [record.state for record in reversed(await store.find_sends(SendFilter()))]


async def all_at_once(client: httpx2.AsyncClient, query: str, said: str) -> None:
    """Choose many, agree, and wait for the job."""
    path = f"/dashboard/sends/all?{query}"
    page = (await client.get(path)).text
    fields = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
    job = (await client.post(path, data=fields)).headers["location"]
    async with asyncio.timeout(60):
        while said not in (await client.get(job)).text:  # noqa: ASYNC110 - it tells nobody
            await asyncio.sleep(0)


async def test_replies_are_listed_by_state_person_and_code(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, _):

        async def listed(query: str) -> list[str]:
            page = (await client.get(f"/dashboard/sends?{query}")).text
            return re.findall(r'id="s(\d+)" href="/dashboard/messages/\d+', page)

        assert await listed("") == ["4", "3", "2", "1"]
        assert await listed("state=undelivered") == ["3"]
        assert await listed("q=63038") == await listed("code=63038") == ["1"]
        assert await listed("q=%2B1+555+123+0001&state=failed") == ["2"]
        assert await listed("q=%2B15550000000") == []
        page = html.unescape((await client.get("/dashboard/sends")).text)
        assert "63016 The person last wrote more than 24 hours ago" in page
        assert "21610 Not +1555***0001." in page
        assert PERSON not in page
        assert "secret" not in page
        page = (await client.get("/dashboard/sends?reveal=1")).text
        assert PERSON in page
        assert "secret 2" in page


async def test_a_template_that_was_sent_instead_of_a_text_says_why(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        sid = "HX" + "0" * 32
        late = inbound("SMlate", "late")._replace(age=2 * 86400.0)
        await store.accept(late)
        reply = replace(
            draft("return:0", "too late"), to=late.sender, fallback=Template(sid),
            fallback_identity="fallback:return:0",
        )  # fmt: skip
        claim = await claim_one(store)
        await store.settle(claim, Settlement(Trigger.COMPLETE, drafts=(reply,)))
        assert (await store.claim_sends(1, lease=30.0, owner="w")).claims
        why = "the person had not written for 24 hours"
        listed = html.unescape((await client.get("/dashboard/sends")).text)
        assert f"template {sid} instead of the text: {why}" in listed
        page = html.unescape((await client.get(f"/dashboard/messages/{claim.id}?reveal=1")).text)
        assert f"Sent instead of the text: {why}." in page
        assert sid in page
        assert "too late" in page


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/dashboard/sends?state=asleep", "unknown filter"),
        ("/dashboard/sends?before=x", "unknown filter"),
        ("/dashboard/sends/all?do=retry", "in which they can be changed"),
        ("/dashboard/sends/all?do=retry&state=sent", "in which they can be changed"),
        ("/dashboard/sends/all?do=cancel&state=unknown", "in which they can be changed"),
        ("/dashboard/sends/all?do=replay&state=failed", "retried or cancelled"),
    ],
)
async def test_what_can_not_be_done_is_said(tmp_path: Path, path: str, said: str) -> None:
    async with visited(tmp_path) as (client, _):
        answer = await client.get(path)
        assert (answer.status_code, said in answer.text) == (HTTPStatus.BAD_REQUEST, True)


async def test_one_is_sent_again_from_the_page_of_its_message(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        page = (await client.get("/dashboard/messages/3")).text
        assert 'action="/dashboard/sends/3/retry"' in page
        assert 'action="/dashboard/sends/3/cancel"' in page
        done = await client.post("/dashboard/sends/3/retry")
        assert done.headers["location"] == "/dashboard/messages/3"
        assert await states(store) == ["pending", "failed", "replaced", "unknown", "pending"]
        again = await client.post("/dashboard/sends/3/retry")
        assert again.status_code == HTTPStatus.BAD_REQUEST
        assert "it is replaced" in again.text
        page = (await client.get("/dashboard/messages/3")).text
        assert 'action="/dashboard/sends/3/retry"' not in page
        done = await client.post("/dashboard/sends/2/cancel")
        assert done.headers["location"] == "/dashboard/messages/2"
        assert (await states(store))[1] == "canceled"
        foreign = await client.post("/dashboard/sends/1/cancel", content="csrf=other")
        assert foreign.status_code == HTTPStatus.BAD_REQUEST
        assert (await client.post("/dashboard/sends/99/cancel")).status_code == (
            HTTPStatus.BAD_REQUEST
        )
        assert (await client.post("/dashboard/sends/x/cancel")).status_code == HTTPStatus.NOT_FOUND


async def test_all_of_a_code_are_sent_again_and_no_others(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        page = (await client.get("/dashboard/sends?state=undelivered&code=63016")).text
        (link,) = re.findall(r'href="(/dashboard/sends/all\?[^"]*do=retry)"', page)
        query = html.unescape(link).partition("?")[2]
        shown = (await client.get(f"/dashboard/sends/all?{query}")).text
        assert "Retry 1 undelivered reply?" in shown
        assert "No handler runs." in shown
        others = await client.get("/dashboard/sends/all?do=retry&state=undelivered&code=30003")
        assert "Retry 0 undelivered replies?" in others.text
        await all_at_once(client, query, "1 of 1 retried")
        assert await states(store) == ["pending", "failed", "replaced", "unknown", "pending"]


async def test_that_somebody_may_get_it_twice_is_said_before(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        # It was pending when its page was loaded.
        late = await client.post("/dashboard/sends/4/retry")
        assert late.status_code == HTTPStatus.BAD_REQUEST
        assert (await states(store))[3] == "unknown"
        page = (await client.get("/dashboard/messages/4")).text
        assert 'action="/dashboard/sends/4/retry-unknown"' in page
        query = "do=retry&state=unknown"
        shown = (await client.get(f"/dashboard/sends/all?{query}")).text
        assert "would get them twice" in shown
        await all_at_once(client, query, "1 of 1 retried")
        assert (await states(store))[3:] == ["replaced", "pending"]


async def test_all_that_wait_are_cancelled(tmp_path: Path) -> None:
    async with visited(tmp_path) as (client, store):
        await all_at_once(client, "do=cancel&state=pending", "1 of 1 cancelled")
        assert (await states(store))[0] == "canceled"
        assert await store.next_send_due() is None


async def test_what_is_scheduled_for_a_person_is_on_the_page_of_their_message(
    tmp_path: Path,
) -> None:
    async with visited(tmp_path) as (client, store):
        sender = inbound("SM9", "9").sender
        await store.accept(inbound("SM9", "9"))
        (message,) = await store.find(Filter(sid="SM9"))
        for name, to, delay in (("b", sender, 7200.0), ("a", sender, 3600.0), ("c", PERSON, 60.0)):
            drafts = (replace(draft(name, f"reminder {name}"), to=to),)
            await store.request(SendRequest("lane", drafts, key=name, delay=delay))
        path = f"/dashboard/messages/{message.id}"
        shown = (await client.get(f"{path}?reveal=1")).text
        assert re.findall(r"reminder \w", shown) == ["reminder a", "reminder b"]
        assert "reminder" not in (await client.get(path)).text
        form = re.search(r'action="(/dashboard/sends/\d+/cancel[^"]*)"', shown)
        csrf = re.search(r'name="csrf" value="([^"]*)"', shown)
        assert form
        assert csrf
        answer = await client.post(html.unescape(form[1]), data={"csrf": csrf[1]})
        assert answer.headers["location"] == f"{path}?reveal=1"
        assert re.findall(r"reminder \w", (await client.get(f"{path}?reveal=1")).text) == [
            "reminder b"
        ]
