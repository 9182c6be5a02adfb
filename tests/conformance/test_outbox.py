"""What every store promises operators of sends (`api.Outbox`), each test named as a behaviour."""

import asyncio
import time

import pytest

from offhook.core.lifecycle import Delivery, SendState, SendTrigger, Trigger
from offhook.stores.api import SendClaim, SendFilter, SendOutcome, SendRecord, Settlement, Store
from testing.stores import DONE, claim_one, draft, inbound, opened

ACCEPTED = SendOutcome(SendTrigger.ACCEPT, sid="SMout", status="queued")
REFUSED = SendOutcome(SendTrigger.REFUSE, error_code="21610", error="The person has opted out.")
LIMITED = SendOutcome(SendTrigger.POSTPONE, error_code="63038", error="Too many.", delay=600.0)
LOST = SendOutcome(SendTrigger.LOSE, error="no answer was read")
UNDELIVERED = Delivery("undelivered", "63016")


async def write(store: Store, *bodies: str, sid: str = "SM1", lane: str = "lane") -> None:
    """Have a message answered by these replies; it settles with them."""
    await store.accept(inbound(sid, lane))
    running = await claim_one(store)
    drafts = tuple(draft(f"return:{n}", body) for n, body in enumerate(bodies))
    await store.settle(running, Settlement(Trigger.COMPLETE, drafts=drafts))


async def send(store: Store, outcome: SendOutcome) -> SendClaim:
    """Claim the only send that is due, and settle it."""
    (claim,) = (await store.claim_sends(100, lease=30.0, owner="w1")).claims
    await store.settle_send(claim, outcome)
    return claim


async def miss(store: Store, send_id: int, sid: str = "SMout") -> None:
    assert await store.record_delivery(send_id, sid, UNDELIVERED, account_sid="AC1")


async def found(store: Store, state: SendState) -> list[SendRecord]:
    return list(await store.find_sends(SendFilter(state=state)))


async def state_of(store: Store, send_id: int) -> SendState:
    record = await store.show_send(send_id)
    assert record is not None
    return record.state


async def test_what_was_refused_keeps_its_number_and_its_place(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a", "b")
        first = await send(store, REFUSED)
        assert await store.retry_send(first.id) == first.id
        again = await send(store, ACCEPTED)
        assert (again.id, again.draft, again.tries) == (first.id, first.draft, 1)
        assert (await send(store, ACCEPTED)).draft.body == "b"
        assert await store.retry_send(first.id) is None


async def test_what_is_postponed_is_due_at_once_and_goes_first(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a", "b")
        first = await send(store, LIMITED)
        (waiting,) = await store.find_sends(SendFilter(state=SendState.PENDING, code="63038"))
        assert (waiting.id, waiting.error_code, waiting.error) == (first.id, "63038", "Too many.")
        assert waiting.due > time.time() + 60
        assert (await store.claim_sends(100, lease=30.0, owner="w1")).claims == []
        (behind,) = [one for one in await found(store, SendState.PENDING) if one.body == "b"]
        assert await store.retry_send(behind.id) == behind.id
        assert (
            await store.claim_sends(100, lease=30.0, owner="w1")
        ).claims == []  # "a" goes before it
        assert (await store.next_send_due() or 0.0) > 60
        assert await store.retry_send(first.id) == first.id
        assert (await send(store, ACCEPTED)).draft.body == "a"


async def test_what_was_not_delivered_is_sent_once_more_by_another_send(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        first = await send(store, ACCEPTED)
        await miss(store, first.id)
        assert await state_of(store, first.id) is SendState.UNDELIVERED
        second = await store.retry_send(first.id)
        assert second is not None
        assert second > first.id
        assert await store.retry_send(first.id) is None
        assert await store.cancel_send(first.id) is False
        again = await send(store, SendOutcome(SendTrigger.ACCEPT, sid="SMagain"))
        assert (again.id, again.draft.body, again.draft.to) == (second, "a", first.draft.to)
        assert again.message_id == first.message_id
        assert again.draft.identity == f"retry:{first.id}"
        states = [await state_of(store, id_) for id_ in (first.id, second)]
        assert states == [SendState.REPLACED, SendState.SENT]
        await store.record_delivery(first.id, "SMout", Delivery("undelivered"), account_sid="AC1")
        assert await state_of(store, first.id) is SendState.REPLACED  # a callback that comes late
        counts = await store.counts()
        assert (counts.sends[SendState.SENT], counts.sends[SendState.REPLACED]) == (1, 1)


async def test_several_of_a_conversation_leave_in_their_order(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a", "b")
        for sid in ("SMa", "SMb"):
            sent = await send(store, SendOutcome(SendTrigger.ACCEPT, sid=sid))
            await miss(store, sent.id, sid)
        for record in reversed(await found(store, SendState.UNDELIVERED)):
            await store.retry_send(record.id)
        assert [(await send(store, ACCEPTED)).draft.body for _ in range(2)] == ["a", "b"]


async def test_an_unknown_send_is_sent_again_only_on_request(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        first = await send(store, LOST)
        assert await store.retry_send(first.id) is None
        assert await state_of(store, first.id) is SendState.UNKNOWN
        second = await store.retry_send(first.id, unknown=True)
        assert second not in {None, first.id}
        # It had left after all.
        await store.record_delivery(first.id, "SMout", Delivery("delivered"), account_sid="AC1")
        record = await store.show_send(first.id)
        assert record is not None
        assert (record.state, record.delivery) == (SendState.REPLACED, "delivered")


async def test_what_is_sent_or_being_sent_is_left_alone(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        (claim,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        assert await store.retry_send(claim.id, unknown=True) is None
        assert await store.cancel_send(claim.id) is False
        await store.settle_send(claim, ACCEPTED)
        assert await store.retry_send(claim.id, unknown=True) is None
        assert await store.cancel_send(claim.id) is False
        assert await store.retry_send(claim.id + 1) is None
        assert await store.cancel_send(claim.id + 1) is False
        assert await store.show_send(claim.id + 1) is None


async def test_what_is_cancelled_holds_nothing_up(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a", "b")
        first = await send(store, LIMITED)
        assert await store.cancel_send(first.id)
        assert await state_of(store, first.id) is SendState.CANCELED
        assert (await send(store, REFUSED)).draft.body == "b"
        (refused,) = await found(store, SendState.FAILED)
        assert await store.cancel_send(refused.id)
        assert await store.retry_send(refused.id) is None
        assert await store.next_send_due() is None


async def test_a_replay_writes_again_what_was_not_delivered(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        first = await send(store, ACCEPTED)
        await miss(store, first.id)
        assert await store.replay(first.message_id)
        running = await claim_one(store)
        (written,) = await store.write(running, [draft("return:0", "by a template")])
        assert (written.repeated, written.state) == (False, SendState.PENDING)
        assert await state_of(store, first.id) is SendState.REPLACED
        assert await store.retry_send(first.id) is None


async def test_a_replay_does_not_repeat_what_an_operator_has_sent_again(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        first = await send(store, ACCEPTED)
        await miss(store, first.id)
        await store.retry_send(first.id)
        assert await store.replay(first.message_id)
        (written,) = await store.write(await claim_one(store), [draft("return:0", "a")])
        assert (written.repeated, written.state) == (True, SendState.REPLACED)


async def test_a_replay_writes_again_what_was_sent_again_in_vain(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        first = await send(store, ACCEPTED)
        await miss(store, first.id)
        for sid in ("SMagain", "SMonce more"):
            (last,) = await found(store, SendState.UNDELIVERED)
            await store.retry_send(last.id)
            again = await send(store, SendOutcome(SendTrigger.ACCEPT, sid=sid))
            await miss(store, again.id, sid)
        assert await store.replay(first.message_id)
        (written,) = await store.write(await claim_one(store), [draft("return:0", "a")])
        assert (written.repeated, written.state) == (False, SendState.PENDING)
        assert await found(store, SendState.UNDELIVERED) == []


async def test_a_replay_leaves_what_may_have_arrived_and_its_replacement(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        first = await send(store, LOST)
        await store.retry_send(first.id, unknown=True)
        again = await send(store, REFUSED)
        assert await store.replay(first.message_id)
        (written,) = await store.write(await claim_one(store), [draft("return:0", "a")])
        assert (written.repeated, written.state) == (True, SendState.REPLACED)
        assert await store.retry_send(again.id) == again.id, "an operator still can"


async def test_what_a_person_did_not_want_while_it_was_being_sent_is_not_sent_again(
    url: str,
) -> None:
    async with opened(url) as store:
        await write(store, "a")
        (claim,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        await store.accept(inbound("SMstop"))
        stop = await claim_one(store)
        await store.settle(stop, Settlement(Trigger.DISCARD, "STOP", cancel_lane=True))
        await store.settle_send(claim, REFUSED)
        assert await store.retry_send(claim.id) is None
        assert await state_of(store, claim.id) is SendState.FAILED


async def test_a_text_that_was_not_kept_can_not_be_sent_again(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a")
        first = await send(store, REFUSED)
        assert await store.reduce(100) == 1
        assert await store.retry_send(first.id) is None
        assert await state_of(store, first.id) is SendState.FAILED
        assert await store.cancel_send(first.id)


async def test_a_callback_makes_it_undelivered_before_its_answer_is_read(url: str) -> None:
    async with opened(url) as store:
        await write(store, "a", "b")
        (claim,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        await miss(store, claim.id)
        assert await state_of(store, claim.id) is SendState.UNDELIVERED
        (behind,) = (
            await store.claim_sends(1, lease=30.0, owner="w1")
        ).claims  # Twilio has the first
        await store.settle_send(claim, ACCEPTED)
        assert await state_of(store, claim.id) is SendState.UNDELIVERED
        assert behind.draft.body == "b"


async def test_all_that_is_given_must_fit(url: str) -> None:
    async with opened(url) as store:
        for number in ("1", "2", "3"):
            await write(store, "a", sid=f"SM{number}", lane=number)
        claims = (await store.claim_sends(100, lease=30.0, owner="w1")).claims
        for claim, outcome in zip(claims, (REFUSED, ACCEPTED, LIMITED), strict=True):
            await store.settle_send(claim, outcome)
        refused, sent, limited = (claim.id for claim in claims)
        await store.record_delivery(sent, "SMout", Delivery("delivered"), account_sid="AC1")

        async def ids(**wanted: object) -> list[int]:
            some = SendFilter(**wanted)  # type: ignore[arg-type]
            return [record.id for record in await store.find_sends(some)]

        newest_first = sorted((refused, sent, limited), reverse=True)
        assert await ids() == newest_first
        assert await ids(limit=2) == newest_first[:2]
        assert await ids(before_id=newest_first[0]) == newest_first[1:]
        assert await ids(state=SendState.FAILED) == [refused]
        assert await ids(state=SendState.SENT) == [sent]
        assert await ids(state=SendState.PENDING) == [limited]
        assert await ids(delivery="delivered") == [sent]
        assert await ids(code="21610") == [refused]
        assert await ids(code="21610", state=SendState.PENDING) == []
        assert await ids(sender="+15005550006", to="+15551230001") == newest_first
        assert await ids(sender="+15005550007") == []
        assert await ids(to="+15005550006") == []
        assert await ids(since=time.time() - 3600, until=time.time() + 3600) == newest_first
        assert await ids(since=time.time() + 3600) == []
        assert await ids(until=time.time() - 3600) == []


async def test_a_message_that_settles_late_finds_what_was_sent_again(url: str) -> None:
    """A refused send is retried while its message still runs: its identity is the same send's."""
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        running = await claim_one(store)
        await store.write(running, [draft()])
        refused = await send(store, REFUSED)
        assert await store.retry_send(refused.id) == refused.id
        (again,) = await store.write(running, [draft()])
        assert (again.id, again.repeated, again.state) == (refused.id, True, SendState.PENDING)
        await store.settle(running, DONE)


@pytest.mark.parametrize("state", [SendState.UNDELIVERED, SendState.UNKNOWN])
async def test_it_is_sent_again_once_however_often_that_is_asked_for(
    url: str, state: SendState
) -> None:
    async with opened(url) as store, opened(url) as other:
        await write(store, "a")
        first = await send(store, LOST if state is SendState.UNKNOWN else ACCEPTED)
        if state is SendState.UNDELIVERED:
            await miss(store, first.id)
        retries = (one.retry_send(first.id, unknown=True) for one in (store, other, store))
        retried = await asyncio.gather(*retries)
        assert len([id_ for id_ in retried if id_ is not None]) == 1
        assert len((await store.claim_sends(100, lease=30.0, owner="w1")).claims) == 1


async def test_what_reaches_nobody_is_counted_by_its_code(url: str) -> None:
    async with opened(url) as store:
        counts = await store.counts()
        assert (counts.oldest_send, counts.shortfalls, counts.unanswered) == (None, {}, 0)
        for number in "12345":
            await write(store, "a", "b", sid=f"SM{number}", lane=number)
        counts = await store.counts()
        assert (counts.shortfalls, counts.unanswered) == ({}, 0)  # they are on their way
        assert counts.oldest_send is not None
        claims = (await store.claim_sends(100, lease=30.0, owner="w1")).claims
        outcomes = (LIMITED, LIMITED, REFUSED, ACCEPTED, LOST)
        for claim, outcome in zip(claims, outcomes, strict=True):
            await store.settle_send(claim, outcome)
        await miss(store, claims[3].id)
        for behind in (await store.claim_sends(100, lease=30.0, owner="w1")).claims:
            await store.settle_send(behind, REFUSED)
        counts = await store.counts()
        assert counts.shortfalls == {
            (SendState.PENDING, "63038"): 2,
            (SendState.FAILED, "21610"): 4,
            (SendState.UNDELIVERED, "63016"): 1,
        }
        # What waits behind a reply of the first two is not on its way; the last may have had it.
        assert counts.unanswered == 4
        for record in await found(store, SendState.UNDELIVERED):
            await store.retry_send(record.id)
        counts = await store.counts()
        assert (SendState.UNDELIVERED, "63016") not in counts.shortfalls
        assert counts.unanswered == 3  # another reply is on its way
        for record in (
            *await found(store, SendState.FAILED),
            *await found(store, SendState.PENDING),
        ):
            await store.retry_send(record.id)
        for claim in (await store.claim_sends(100, lease=30.0, owner="w1")).claims:
            await store.settle_send(claim, SendOutcome(SendTrigger.ACCEPT, sid="SMagain"))
        assert (await store.counts()).unanswered == 0


async def test_only_settled_messages_have_been_left_unanswered(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        running = await claim_one(store)
        await store.write(running, [draft()])
        await send(store, LIMITED)
        assert (await store.counts()).unanswered == 0  # its handler may still say something
        await store.settle(running, DONE)
        counts = await store.counts()
        assert (counts.unanswered, counts.shortfalls) == (1, {(SendState.PENDING, "63038"): 1})
        assert counts.oldest_send is not None
        (waiting,) = await found(store, SendState.PENDING)
        await store.cancel_send(waiting.id)
        counts = await store.counts()
        assert (counts.oldest_send, counts.shortfalls, counts.unanswered) == (None, {}, 0)
