"""What every store promises of sends that answer no message (`api.Requests`)."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery, SendState, SendTrigger, Trigger
from offhook.core.messages import Send
from offhook.core.reasons import Cause
from offhook.stores.api import Retention, SendClaim, SendOutcome, SendRequest, Settlement, Store
from testing.stores import claim_one, draft, inbound, opened
from tests.conformance.clocks import clock_of

DAY = 86_400
ACCEPTED = SendOutcome(SendTrigger.ACCEPT, sid="SMout", status="queued")
FOR_LONG = Retention(settled=DAY, dead=DAY, parked=DAY, keys=10 * DAY)


def request(
    body: str = "hello",
    *more: str,
    lane: str = "lane",
    key: str = "",
    at: float = 0.0,
    unless_reply: bool = False,
) -> SendRequest:
    """Return a request as to a person who writes in a lane, see `testing.stores.inbound`."""
    drafts = tuple(
        replace(draft(f"key.{n}:{key}", text), to=f"+1555{lane}")
        for n, text in enumerate((body, *more))
    )
    return SendRequest(lane, drafts, key, at, unless_reply)


async def claim_sends(store: Store) -> list[SendClaim]:
    return list((await store.claim_sends(100, lease=30.0, owner="w1")).claims)


async def leave(store: Store) -> list[str]:
    """Send all that is due, and return their texts in the order in which they left."""
    left: list[str] = []
    while claims := await claim_sends(store):
        for one in claims:
            left.append(one.draft.body)
            await store.settle_send(one, replace(ACCEPTED, sid=f"SM{one.id}"))
    return left


async def later(url: str, seconds: int) -> None:
    async with clock_of(url) as clock:
        await clock.advance(seconds)


async def state_of(store: Store, asked: SendRequest) -> Send:
    """Return the last send of a request that has a key."""
    known = await store.request(asked)
    assert known[-1].repeated
    return known[-1]


async def test_a_send_of_its_own_leaves_with_its_text_and_answers_no_message(url: str) -> None:
    async with opened(url) as store:
        (written,) = await store.request(request("good morning"))
        assert (written.state, written.repeated) == (SendState.PENDING, False)
        (one,) = await claim_sends(store)
        assert (one.id, one.draft.body, one.message_id, one.message_sid) == (
            written.id, "good morning", 0, ""
        )  # fmt: skip
        await store.settle_send(one, ACCEPTED)
        assert await store.record_delivery(one.id, "SMout", Delivery("read"), account_sid="AC1")
        sent = await store.sent_as("SMout", account_sid="AC1")
        assert sent is not None
        assert (sent.id, sent.delivery) == (written.id, Delivery("read"))
        assert await store.sent_as("SMout", account_sid="AC2") is None
        assert await store.sent_as("", account_sid="AC1") is None


async def test_a_repeated_key_returns_the_first_send(url: str) -> None:
    async with opened(url) as store:
        (first,) = await store.request(request("a", key="k"))
        (again,) = await store.request(request("other words", key="k", at=60))
        assert (again.id, again.body, again.repeated) == (first.id, "a", True)
        (other,) = await store.request(request("b", key="l"))
        assert not other.repeated
        for _ in range(2):  # without a key nothing is a repeat
            assert not (await store.request(request("c")))[0].repeated
        assert await leave(store) == ["a", "b", "c", "c"]


async def test_a_key_belongs_to_an_account(url: str) -> None:
    async with opened(url) as store:
        asked = request(key="k")
        await store.request(asked)
        tenant = replace(asked, drafts=(replace(asked.drafts[0], account_sid="AC2"),))
        assert not (await store.request(tenant))[0].repeated


async def test_of_many_requests_with_one_key_at_once_one_is_written(url: str) -> None:
    async with opened(url) as here, opened(url) as there:
        stores = [here, there] * 8
        written = await asyncio.gather(*(one.request(request(key="k")) for one in stores))
        assert len({send.id for (send,) in written}) == 1
        assert [send.repeated for (send,) in written].count(False) == 1
        assert await leave(here) == ["hello"]


async def test_a_scheduled_send_joins_when_it_is_due_and_survives_the_store(url: str) -> None:
    async with opened(url) as store:
        (written,) = await store.request(request("later", at=60))
        assert written.state is SendState.SCHEDULED
        assert await store.next_request_due() == pytest.approx(60, abs=30)
        assert await store.start_due(10) == 0
        assert await leave(store) == []
        assert await store.next_send_due() is None
    await later(url, 61)
    async with opened(url) as store:
        assert await store.next_request_due() == 0.0
        assert await store.start_due(10) == 1
        assert await store.next_request_due() is None
        (one,) = await claim_sends(store)
        assert (one.id, one.draft.body) == (written.id, "later")


async def test_a_scheduled_send_joins_once_however_many_workers_look(url: str) -> None:
    async with opened(url) as here, opened(url) as there:
        for n in range(20):
            await here.request(request(f"{n}", lane=f"{n}", at=60))
        await later(url, 61)
        started = await asyncio.gather(*(one.start_due(7) for one in [here, there] * 6))
        assert sum(started) == 20
        assert sorted(await leave(here), key=int) == [f"{n}" for n in range(20)]


async def test_a_scheduled_send_does_not_hold_its_lane_and_then_goes_behind(url: str) -> None:
    async with opened(url) as store:
        await store.request(request("reminder", key="k", at=60))
        await store.request(request("now"))
        assert await leave(store) == ["now"]
        await store.request(request("one", "two", "three"))
        (first,) = await claim_sends(store)
        await later(url, 61)
        assert await store.start_due(10) == 1
        await store.request(request("last"))
        await store.settle_send(first, ACCEPTED)
        assert await leave(store) == ["two", "three", "reminder", "last"]
        assert (await state_of(store, request(key="k"))).state is SendState.SENT


async def test_scheduled_sends_of_a_lane_leave_in_the_order_of_their_times(url: str) -> None:
    async with opened(url) as store:
        await store.request(request("third", "fourth", at=60))
        await store.request(request("second", at=40))
        await store.request(request("other", lane="other", at=50))
        await store.request(request("first", at=20))
        await later(url, 61)
        assert await store.start_due(10) == 4
        left = await leave(store)
        assert "other" in left
        assert [body for body in left if body != "other"] == ["first", "second", "third", "fourth"]


@pytest.mark.parametrize("due", [False, True])
async def test_a_message_cancels_what_was_to_leave_unless_it_came(url: str, *, due: bool) -> None:
    async with opened(url) as store:
        asked = request("still there?", "hello?", key="k", at=60, unless_reply=True)
        await store.request(asked)
        await store.request(request("kept", at=60))
        if due:
            await later(url, 61)
            assert await store.start_due(10) == 2
        assert await store.accept(inbound("SM1"))
        cancelled = await state_of(store, asked)
        assert (cancelled.state, cancelled.error) == (SendState.CANCELED, str(Cause.ANSWERED()))
        await later(url, 61)
        await store.start_due(10)
        assert await leave(store) == ["kept"]
        assert await store.next_request_due() is None


async def test_only_a_message_of_that_person_to_that_number_cancels(url: str) -> None:
    async with opened(url) as store:
        asked = request("nudge", key="k", at=60, unless_reply=True)
        await store.request(asked)
        others = [
            inbound("SM1", "other"),
            inbound("SM2", kind=Kind.STATUS),
            inbound("SM3", kind=Kind.DEFERRED),  # which may be anybody's
            inbound("SM4", "otherline")._replace(sender="+1555lane", recipient="+15005550007"),
            inbound("SM5")._replace(account_sid="AC2"),
        ]
        assert await asyncio.gather(*map(store.accept, others)) == [True] * len(others)
        assert (await state_of(store, asked)).state is SendState.SCHEDULED
        assert await asyncio.gather(*(store.accept(inbound(f"SMa{n}")) for n in range(3)))
        assert (await state_of(store, asked)).state is SendState.CANCELED


async def test_what_a_messaging_service_sends_is_cancelled_by_a_message_to_any_number(
    url: str,
) -> None:
    async with opened(url) as store:
        asked = request("nudge", lane="service", key="k", at=60, unless_reply=True)
        asked = replace(asked, drafts=(replace(asked.drafts[0], sender="MG" + "0" * 32),))
        await store.request(asked)
        await store.accept(inbound("SM1", "a lane")._replace(sender="+1555service"))
        assert (await state_of(store, asked)).state is SendState.CANCELED


async def test_what_has_left_is_cancelled_by_nothing_and_asked_for_no_more(url: str) -> None:
    async with opened(url) as store:
        asked = request("nudge", key="k", unless_reply=True)
        await store.request(asked)
        assert await leave(store) == ["nudge"]
        await store.start_due(10)
        await store.accept(inbound("SM1"))
        assert (await state_of(store, asked)).state is SendState.SENT
        (send,) = await store.request(asked)
        assert not await store.cancel_send(send.id)


async def test_what_has_not_left_after_all_is_cancelled_all_the_same(url: str) -> None:
    async with opened(url) as store:
        asked = request("nudge", key="k", unless_reply=True)
        await store.request(asked)
        (claimed,) = await claim_sends(store)
        await store.start_due(10)
        await store.settle_send(claimed, SendOutcome(SendTrigger.POSTPONE, delay=600))
        await store.accept(inbound("SM1"))
        assert (await state_of(store, asked)).state is SendState.CANCELED


async def lost_answer(store: Store, claimed: SendClaim) -> None:
    """Return what a worker has claimed without having received it."""
    assert await store.hand_back_sends("w1", []) == 1


async def postpone(store: Store, claimed: SendClaim) -> None:
    await store.settle_send(claimed, SendOutcome(SendTrigger.POSTPONE, error="429", delay=600))


@pytest.mark.parametrize("end", [postpone, lost_answer])
@pytest.mark.parametrize("why", ["written", "opted out", "cancelled"])
async def test_what_is_not_wanted_any_more_while_it_is_being_sent_is_not_sent_later(
    url: str, why: str, end: Callable[[Store, SendClaim], Awaitable[None]]
) -> None:
    async with opened(url) as store:
        asked = request("nudge", "and another", key="k", unless_reply=why == "written")
        _, second = await store.request(asked)
        (claimed,) = await claim_sends(store)
        if why == "cancelled":
            assert await store.cancel_send(second.id)
        await store.accept(inbound("SM1"))
        if why == "opted out":
            settlement = Settlement(Trigger.DISCARD, "STOP", cancel_lane=True)
            await store.settle(await claim_one(store), settlement)
        await store.request(request("next"))
        await end(store, claimed)
        known = await store.request(asked)
        assert {send.state for send in known} == {SendState.CANCELED}
        assert known[0].error == str(Cause.OPTED_OUT())
        assert await leave(store) == ["next"]


async def test_what_is_tried_in_vain_ages_from_its_time(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        await store.request(request("good morning"))
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, SendOutcome(SendTrigger.POSTPONE, error="429", delay=900))
        await clock.advance(600)
        assert (await store.counts()).oldest_send == pytest.approx(600, abs=60)


async def test_what_stood_behind_a_cancelled_send_leaves_at_once(url: str) -> None:
    async with opened(url) as store:
        await store.request(request("nudge", unless_reply=True))
        (first,) = await claim_sends(store)
        await store.settle_send(first, SendOutcome(SendTrigger.POSTPONE, delay=600))
        await store.request(request("next"))
        assert await claim_sends(store) == []
        await store.accept(inbound("SM1"))
        assert await leave(store) == ["next"]


async def test_an_opt_out_cancels_what_is_scheduled_too(url: str) -> None:
    async with opened(url) as store:
        asked = request(key="k", at=60)
        await store.request(asked)
        await store.request(request(lane="other", key="l", at=60))
        await store.accept(inbound("SM1"))
        stop = await claim_one(store)
        await store.settle(stop, Settlement(Trigger.DISCARD, "STOP", cancel_lane=True))
        assert (await state_of(store, asked)).state is SendState.CANCELED
        await later(url, 61)
        await store.start_due(10)
        assert await leave(store) == ["hello"]


async def test_a_send_is_withdrawn_with_its_other_parts_until_it_leaves(url: str) -> None:
    async with opened(url) as store:
        _, second = await store.request(request("a", "b", at=60))
        assert await store.cancel_send(second.id)
        assert not await store.cancel_send(second.id)
        assert not await store.cancel_send(4711)
        assert await store.next_request_due() is None
        first, second = await store.request(request("c", "d"))
        await store.request(request("e"))
        (one,) = await claim_sends(store)
        assert not await store.cancel_send(first.id), "it may have left"
        assert await store.cancel_send(second.id)
        await store.settle_send(one, ACCEPTED)
        assert await leave(store) == ["e"]


async def test_what_is_scheduled_is_counted_as_such_and_not_as_waiting(url: str) -> None:
    async with opened(url) as store:
        await store.request(request(at=60))
        counts = await store.counts()
        assert (counts.sends[SendState.SCHEDULED], counts.unsent) == (1, 0)
        await later(url, 61)
        await store.start_due(10)
        counts = await store.counts()
        assert (counts.sends[SendState.SCHEDULED], counts.unsent) == (0, 1)


async def test_a_send_is_pruned_once_it_is_over_and_its_key_later(url: str) -> None:
    async with opened(url) as store:
        asked = request(key="k")
        await store.request(asked)
        await store.request(request("waits"))
        (one,) = await claim_sends(store)
        await store.settle_send(one, ACCEPTED)
        (waiting,) = await claim_sends(store)
        await store.settle_send(waiting, SendOutcome(SendTrigger.POSTPONE, delay=5 * DAY))
        await later(url, 2 * DAY)
        assert await store.prune(FOR_LONG, 100) == 1
        assert await store.sent_as("SMout", account_sid="AC1") is None
        assert (await store.counts()).sends[SendState.PENDING] == 1
        gone = await state_of(store, asked)
        assert (gone.state, gone.body) == (SendState.UNKNOWN, "")
        await later(url, 10 * DAY)
        await store.prune(FOR_LONG, 100)
        assert not (await store.request(asked))[0].repeated


async def test_what_is_scheduled_is_kept_with_its_key_until_it_is_over(url: str) -> None:
    async with opened(url) as store:
        asked = request(key="k", at=100 * DAY)
        await store.request(asked)
        await later(url, 99 * DAY)
        assert await store.prune(FOR_LONG, 100) == 0
        assert (await state_of(store, asked)).state is SendState.SCHEDULED
        (send,) = await store.request(asked)
        assert await store.cancel_send(send.id)
        await later(url, 2 * DAY)
        assert await store.prune(FOR_LONG, 100) == 1
        assert (await store.counts()).sends[SendState.CANCELED] == 0


async def test_texts_are_taken_out_of_what_has_left(url: str) -> None:
    async with opened(url) as store:
        asked, scheduled = request("secret", key="k"), request("later", key="l", at=60)
        await store.request(asked)
        await store.request(scheduled)
        assert await store.reduce(100) == 0
        assert await leave(store) == ["secret"]
        assert await store.reduce(100) == 1
        assert await store.reduce(100) == 0
        assert (await state_of(store, asked)).body == ""
        assert (await state_of(store, scheduled)).body == "later"
        await later(url, 2 * DAY)
        await store.start_due(10)
        await leave(store)
        assert await store.prune(FOR_LONG, 100) >= 1


async def test_a_person_is_erased_with_what_is_scheduled_for_them(url: str) -> None:
    async with opened(url) as store:
        asked = request(lane="1230001", key="k", at=60, unless_reply=True)
        await store.request(asked)
        await store.request(request("kept", lane="1230002", at=60, unless_reply=True))
        erased = await store.erase("+15551230001", 100)
        assert (erased.erased, erased.busy) == (1, 0)
        assert (await state_of(store, asked)).state is SendState.UNKNOWN, "no second send"
        await store.accept(inbound("SM1", "1230001"))
        await later(url, 61)
        await store.start_due(10)
        assert await leave(store) == ["kept"]
