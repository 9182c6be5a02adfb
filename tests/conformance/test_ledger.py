"""What every store promises of sends (`api.Ledger`), each test named as a behaviour."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace

import pytest

from offhook.core.lifecycle import Delivery, SendState, SendTrigger, State, Trigger
from offhook.core.messages import Send
from offhook.core.reasons import Cause
from offhook.errors import LeaseLost
from offhook.stores.api import (
    Claim,
    Filter,
    SendClaim,
    SendOutcome,
    Settlement,
    Store,
)
from testing.stores import (
    DONE,
    claim,
    claim_one,
    draft,
    inbound,
    opened,
    transactions_of_sends,
)
from tests.conformance.clocks import clock_of

ACCEPTED = SendOutcome(SendTrigger.ACCEPT, sid="SMout", status="queued")


async def running(store: Store, sid: str = "SM1", lane: str = "lane") -> Claim:
    await store.accept(inbound(sid, lane))
    return await claim_one(store)


async def claim_sends(store: Store, *, lease: float = 30.0) -> list[SendClaim]:
    return list((await store.claim_sends(100, lease=lease, owner="w1")).claims)


async def sends_of(store: Store, claim: Claim) -> tuple[Send, ...]:
    history = await store.show(claim.id)
    assert history is not None
    return history.sends


async def only_send(store: Store, claim: Claim) -> Send:
    (send,) = await sends_of(store, claim)
    return send


async def test_a_reply_is_written_once_and_comes_back_as_repeated(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        (first,) = await store.write(one, [draft(body="hello")])
        (again,) = await store.write(one, [draft(body="other words")])
        assert (first.id, first.repeated) == (again.id, False)
        assert (again.repeated, again.body) == (True, "hello")
        assert len(await claim_sends(store)) == 1


async def test_returned_replies_are_written_with_the_settling(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        drafts = (draft("return:0", "a"), draft("return:1", "b"))
        written = await store.settle(one, Settlement(Trigger.COMPLETE, drafts=drafts))
        assert [send.identity for send in written] == ["return:0", "return:1"]


async def test_a_settled_run_can_send_no_more(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.settle(one, DONE)
        with pytest.raises(LeaseLost):
            await store.write(one, [draft()])


async def test_a_conversations_sends_leave_in_order_one_at_a_time(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft("reply:0", "a"), draft("reply:1", "b")])
        (first,) = await claim_sends(store)
        assert (first.draft.body, first.message_sid) == ("a", one.sid)
        assert one.sid
        assert await claim_sends(store) == []
        await store.settle_send(first, ACCEPTED)
        assert [send.draft.body for send in await claim_sends(store)] == ["b"]


async def test_a_stuck_conversation_does_not_delay_others(url: str) -> None:
    async with opened(url) as store:
        for lane in ("a", "b"):
            await store.write(await running(store, f"SM{lane}", lane), [draft(body=lane)])
        first, _ = await claim_sends(store)
        await store.settle_send(first, SendOutcome(SendTrigger.POSTPONE, delay=60))
        claimed = await store.claim_sends(100, lease=30.0, owner="w1")
        assert claimed.claims == []
        for due in (claimed.next_due, await store.next_send_due()):
            assert due == pytest.approx(30, abs=15)  # the other's lease


async def test_a_postponed_send_comes_again_and_counts_its_tries(url: str) -> None:
    async with opened(url) as store:
        await store.write(await running(store), [draft()])
        (first,) = await claim_sends(store)
        await store.settle_send(first, SendOutcome(SendTrigger.POSTPONE, error="429"))
        (second,) = await claim_sends(store)
        assert (first.tries, second.tries) == (1, 2)


async def test_an_accepted_send_keeps_its_sid_and_what_is_said_of_it(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, ACCEPTED)
        await store.record_delivery(None, "SMout", Delivery("delivered"), account_sid="AC1")
        await store.record_delivery(None, "SMout", Delivery("sent"), account_sid="AC1")  # late
        send = await only_send(store, one)
        assert (send.state, send.sid) == (SendState.SENT, "SMout")
        assert send.delivery == Delivery("delivered")
        assert await store.next_send_due() is None


async def test_what_was_being_sent_in_a_crash_is_unknown_and_holds_nothing_up(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft("reply:0", "a"), draft("reply:1", "b")])
        await claim_sends(store, lease=-1)
        assert [send.draft.body for send in await claim_sends(store)] == ["b"]
        lost = (await sends_of(store, one))[0]
        assert (lost.state, lost.error) == (SendState.UNKNOWN, str(Cause.SEND_LOST()))


async def test_a_lost_answer_makes_it_unknown_and_a_callback_resolves_it(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, SendOutcome(SendTrigger.LOSE, error="no answer"))
        assert (await only_send(store, one)).state is SendState.UNKNOWN
        assert await store.record_delivery(claimed.id, "SMout", Delivery("sent"), account_sid="AC1")
        send = await only_send(store, one)
        assert (send.state, send.sid, send.error) == (SendState.SENT, "SMout", "")


async def test_what_stays_unknown_is_counted_after_a_while(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        assert (await store.counts(unresolved_after=0.0)).unresolved == 0
        await store.settle_send(claimed, SendOutcome(SendTrigger.LOSE, error="no answer"))
        assert (await store.counts()).unresolved == 0, "it may still be resolved"
        assert (await store.counts(unresolved_after=0.0)).unresolved == 1
        await store.record_delivery(claimed.id, "SMout", Delivery("sent"), account_sid="AC1")
        assert (await store.counts(unresolved_after=0.0)).unresolved == 0


async def test_a_callback_before_the_answer_is_not_undone_by_it(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft("reply:0"), draft("reply:1", "next")])
        (claimed,) = await claim_sends(store)
        await store.record_delivery(claimed.id, "SMout", Delivery("delivered"), account_sid="AC1")
        await store.settle_send(claimed, SendOutcome(SendTrigger.LOSE, error="no answer"))
        send = (await sends_of(store, one))[0]
        assert (send.state, send.delivery) == (SendState.SENT, Delivery("delivered"))
        assert [later.draft.body for later in await claim_sends(store)] == ["next"]


async def test_a_callback_lets_the_next_send_go_without_waiting_for_the_answer(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft("reply:0"), draft("reply:1", "next")])
        (claimed,) = await claim_sends(store)
        assert await claim_sends(store) == []
        await store.record_delivery(claimed.id, "SMout", Delivery("sent"), account_sid="AC1")
        (later,) = await claim_sends(store)
        assert later.draft.body == "next"
        await store.settle_send(claimed, ACCEPTED)  # changes nothing of the later one
        assert await claim_sends(store) == []
        await store.settle_send(later, replace(ACCEPTED, sid="SMlater"))
        assert [send.sid for send in await sends_of(store, one)] == ["SMout", "SMlater"]


async def test_a_late_acceptance_makes_an_unknown_send_sent(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store, lease=-1)
        assert await claim_sends(store) == []  # unknown by now
        await store.settle_send(claimed, ACCEPTED)
        assert (await only_send(store, one)).state is SendState.SENT


async def test_a_callback_of_another_message_is_not_taken_for_a_send(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, ACCEPTED)
        assert not await store.record_delivery(
            claimed.id, "SMother", Delivery("failed"), account_sid="AC1"
        )
        assert not await store.record_delivery(
            None, "SMnobody", Delivery("sent"), account_sid="AC1"
        )
        assert not await store.record_delivery(4711, "SMout", Delivery("sent"), account_sid="AC1")
        assert (await only_send(store, one)).delivery == Delivery("queued")


async def test_what_another_account_says_is_not_taken_for_a_send(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        forged = Delivery("read")
        assert not await store.record_delivery(claimed.id, "SMout", forged, account_sid="AC2")
        assert (await only_send(store, one)).sid == ""
        await store.settle_send(claimed, ACCEPTED)
        assert not await store.record_delivery(claimed.id, "SMout", forged, account_sid="AC2")
        assert not await store.record_delivery(None, "SMout", forged, account_sid="AC2")
        assert not await store.record_delivery(None, "SMout", forged, account_sid="")
        assert (await only_send(store, one)).delivery == Delivery("queued")


async def test_a_notice_is_written_at_most_once_a_message(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", notice_after=0))
        (late,) = await store.overdue(10)
        assert late.sender == "+1555lane"
        assert await store.notify(late.id, draft("notice:slow"))
        assert await store.notify(late.id, draft("notice:slow")) is None
        assert await store.overdue(10) == []


async def test_a_notice_is_written_at_most_once_a_lane_in_its_time(url: str) -> None:
    async with opened(url) as store:
        for n in range(2):
            await store.accept(inbound(f"SM{n}", notice_after=0))
        written = [
            await store.notify(late.id, draft("notice:slow", once_in=600))
            for late in await store.overdue(10)
        ]
        assert [send is not None for send in written] == [True, False]
        assert await store.overdue(10) == []


async def test_notices_asked_for_at_once_are_as_if_asked_for_one_after_the_other(url: str) -> None:
    async with opened(url) as store:
        for sid, lane in (("SM1", "a"), ("SM2", "a"), ("SM3", "b"), ("SM4", "c")):
            await store.accept(inbound(sid, lane, notice_after=0))
        first, second, third, settled = [late.id for late in await store.overdue(10)]
        ending = next(one for one in await claim(store) if one.id == settled)
        await store.settle(ending, DONE)
        slow, failure = draft("notice:slow", once_in=600), draft("notice:failure")
        written = await asyncio.gather(
            store.notify(first, slow),
            store.notify(first, slow),  # once a message
            store.notify(second, slow),  # once a lane in its time
            store.notify(settled, slow),
            store.notify(settled, failure, settled=True),
            store.notify(third, slow),
            store.notify(third, failure),
            store.notify(4711, failure, settled=True),  # pruned meanwhile
        )
        assert [send and send.identity for send in written] == [
            "notice:slow", None, None, None, "notice:failure", "notice:slow", "notice:failure", None
        ]  # fmt: skip
        assert await store.overdue(10) == []
        # One of each lane, the first of it.
        assert sorted((one.message_id, one.draft.identity) for one in await claim_sends(store)) == [
            (first, "notice:slow"), (third, "notice:slow"), (settled, "notice:failure")
        ]  # fmt: skip


async def test_notices_asked_for_at_once_share_a_transaction(url: str) -> None:
    async with opened(url) as store:
        await asyncio.gather(
            *(store.accept(inbound(f"SM{n}", f"{n}", notice_after=0)) for n in range(100))
        )
        overdue = await store.overdue(100)
        before = await transactions_of_sends(url)
        told = await asyncio.gather(
            *(store.notify(late.id, draft("notice:slow")) for late in overdue)
        )
        assert len([send for send in told if send is not None]) == 100
        assert await transactions_of_sends(url) - before <= 5


async def test_a_message_that_is_not_late_yet_or_has_settled_gets_no_notice(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", "a", notice_after=60))
        await store.accept(inbound("SM2", "b", notice_after=0))
        await store.accept(inbound("SM3", "c"))
        (late,) = await store.overdue(10)
        for _ in range(3):
            await store.settle(await claim_one(store), DONE)
        assert await store.notify(late.id, draft("notice:slow")) is None
        assert await store.overdue(10) == []


async def test_a_failure_notice_may_follow_the_settling(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.settle(one, Settlement(Trigger.GIVE_UP, "Traceback"))
        assert await store.notify(one.id, draft("notice:failure")) is None
        assert await store.notify(one.id, draft("notice:failure"), settled=True)


@pytest.mark.parametrize("under_way", [False, True])
async def test_a_slow_notice_is_cancelled_when_its_message_settles_first(
    url: str, under_way: bool
) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", notice_after=0))
        one = await claim_one(store)
        await store.notify(one.id, draft("notice:slow"))
        notices = await claim_sends(store) if under_way else []
        await store.settle(one, DONE)
        for notice in notices:
            await store.settle_send(notice, SendOutcome(SendTrigger.POSTPONE))
        assert (await only_send(store, one)).state is SendState.CANCELED
        assert await claim_sends(store) == []


async def test_what_stood_behind_a_cancelled_notice_leaves_at_once(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", notice_after=0))
        one = await claim_one(store)
        await store.notify(one.id, draft("notice:slow"))
        (notice,) = await claim_sends(store)
        await store.settle_send(notice, SendOutcome(SendTrigger.POSTPONE, delay=60))
        await store.write(one, [draft(body="next")])
        assert await claim_sends(store) == []
        await store.settle(one, DONE)
        assert [send.draft.body for send in await claim_sends(store)] == ["next"]


async def test_an_opt_out_cancels_what_the_lane_has_not_sent(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        await store.settle(one, DONE)
        await store.settle(
            await running(store, "SM2"), Settlement(Trigger.COMPLETE, cancel_lane=True)
        )
        assert (await only_send(store, one)).state is SendState.CANCELED
        assert await claim_sends(store) == []


async def test_a_replay_repeats_what_failed_and_not_what_was_sent(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft("reply:0", "sent"), draft("reply:1", "refused")])
        (first,) = await claim_sends(store)
        await store.settle_send(first, ACCEPTED)
        (second,) = await claim_sends(store)
        await store.settle_send(second, SendOutcome(SendTrigger.REFUSE, error_code="21610"))
        await store.settle(one, DONE)
        assert await store.replay(one.id)
        again = await claim_one(store)
        repeated = await store.write(again, [draft("reply:0", "sent"), draft("reply:1", "refused")])
        assert [send.repeated for send in repeated] == [True, False]


async def answered(store: Store, sid: str, lane: str = "lane", *, to: str = "+1555lane") -> int:
    """Let a message come and be answered; return its turns."""
    one = await running(store, sid, lane)
    await store.write(one, [replace(draft(), to=to)])
    await store.settle(one, DONE)
    for send in await claim_sends(store):
        await store.settle_send(send, ACCEPTED)
    return one.turns


async def test_replies_that_were_answered_at_once_come_with_the_claim(url: str) -> None:
    async with opened(url) as store:
        assert [await answered(store, f"SM{n}") for n in range(6)] == [0, 1, 2, 3, 4, 5]
        assert await answered(store, "SM7", "elsewhere", to="+1555elsewhere") == 0


async def test_replies_that_have_not_left_or_went_to_others_are_no_turns(url: str) -> None:
    async with opened(url) as store:
        await answered(store, "SM1", to="+15559999999")
        two = await running(store, "SM2")
        assert two.turns == 0
        await store.write(two, [replace(draft(), to="+1555lane")])
        await store.settle(two, DONE)
        three = await running(store, "SM3")
        assert three.turns == 0  # the reply waits to be sent
        (waiting,) = await claim_sends(store)
        await store.settle(three, DONE)
        four = await running(store, "SM4")
        assert four.turns == 1  # it is being sent
        await store.settle_send(waiting, SendOutcome(SendTrigger.REFUSE, error_code="21610"))
        await store.settle(four, DONE)
        assert (await running(store, "SM5")).turns == 0


async def test_what_was_written_before_a_reply_does_not_answer_it(url: str) -> None:
    async def claimed_and_answered(store: Store) -> int:
        one = await claim_one(store)
        await store.write(one, [replace(draft(), to="+1555lane")])
        await store.settle(one, DONE)
        for send in await claim_sends(store):
            await store.settle_send(send, ACCEPTED)
        return one.turns

    async def accept(store: Store, numbers: Iterable[int]) -> None:
        for number in numbers:
            await store.accept(inbound(f"SM{number}"))
        async with clock_of(url) as clock:
            await clock.advance(1)  # turns compare milliseconds: these are a second before a reply

    async with opened(url) as store:
        await accept(store, range(4))
        assert [await claimed_and_answered(store) for _ in range(4)] == [0, 0, 0, 0]
        await accept(store, range(4, 8))
        # All of them came behind the fourth reply, and before the next.
        assert [await claimed_and_answered(store) for _ in range(4)] == [1, 1, 1, 1]
        assert await answered(store, "SM8") == 2


async def test_who_answers_after_a_pause_is_no_program(url: str) -> None:
    async with opened(url) as store:
        await answered(store, "SM1")
        assert await answered(store, "SM2") == 1
        async with clock_of(url) as clock:
            await clock.advance(60)
        assert await answered(store, "SM3") == 0
        assert await answered(store, "SM4") == 2
        async with clock_of(url) as clock:
            await clock.advance(4000)
        assert await answered(store, "SM5") == 0
        assert await answered(store, "SM6") == 1


async def test_a_send_that_was_claimed_without_an_answer_is_pending_again(url: str) -> None:
    async with opened(url) as store:
        for lane in ("a", "b"):
            await store.write(await running(store, f"SM{lane}", lane), [draft(body=lane)])
        (held,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        (lost,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        assert await store.hand_back_sends("w2", []) == 0
        assert await store.hand_back_sends("w1", [held.token]) == 1
        (again,) = await claim_sends(store)
        assert (again.id, again.tries) == (lost.id, 1)
        await store.settle_send(lost, ACCEPTED)  # of a lease that is gone
        await store.settle_send(again, SendOutcome(SendTrigger.POSTPONE, delay=60))
        assert await claim_sends(store) == []


async def test_a_send_that_a_callback_has_confirmed_is_not_handed_back(url: str) -> None:
    async with opened(url) as store:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        await store.record_delivery(claimed.id, "SMout", Delivery("sent"), account_sid="AC1")
        assert await store.hand_back_sends("w1", []) == 0
        assert (await only_send(store, one)).state is SendState.SENT


async def test_characters_that_a_store_may_not_know_hold_nothing_up(url: str) -> None:
    """NUL is a character of a form, and none of PostgreSQL's texts."""

    async with opened(url) as store:
        await store.accept(inbound("SM\0", "a\0b")._replace(sender="+1\0", recipient="\0"))
        one = await claim_one(store)
        odd = replace(
            draft("key:\0", "you said: \0"), to="+1\0", media=("https://a/\0",),
            content_sid="HX\0", content_variables={"\0": "\0"},
        )  # fmt: skip
        (sent,) = await store.write(one, [odd])
        assert not sent.repeated
        await store.settle(one, Settlement(Trigger.GIVE_UP, "Traceback\0", drafts=(draft("n:\0"),)))
        (due,) = (await store.claim_sends(10, lease=30.0, owner="w")).claims
        outcome = SendOutcome(SendTrigger.REFUSE, error_code="\0", error="refused \0")
        await store.settle_send(due, outcome)
        (record,) = await store.find(Filter())
        history = await store.show(record.id)
        assert history is not None
        assert record.state is State.DEAD
        assert [send.state for send in history.sends] == [SendState.FAILED, SendState.PENDING]
        assert not await store.accept(inbound("SM\0", "a\0b"))
        assert await store.find(Filter(sender="+1\0", sid="SM\0")) == [record]


async def test_half_a_surrogate_pair_holds_nothing_up(url: str) -> None:
    """A slice of JSON or of UTF-16 may end in the middle of a character, in any text of ours."""
    half, pair = "\ud83d", "\ud83d\ude00"

    async with opened(url) as store:
        one, other = await running(store, "SM1", "a"), await running(store, "SM2", "b")
        odd = replace(
            draft(f"key:{half}", f"{pair} {half}"), to=f"+1{half}", media=(f"https://a/{half}",),
            content_sid=half, content_variables={half: half},
        )  # fmt: skip
        (first,) = await store.write(one, [odd])
        (again,) = await store.write(one, [odd])
        assert (again.id, again.repeated) == (first.id, True)
        assert again.body == "\N{GRINNING FACE} \N{REPLACEMENT CHARACTER}"
        gives_up = Settlement(Trigger.GIVE_UP, f"Traceback {half}", drafts=(draft(f"n:{half}"),))
        await asyncio.gather(store.settle(one, gives_up), store.settle(other, DONE))
        (due,) = (await store.claim_sends(10, lease=30.0, owner="w")).claims
        refused = SendOutcome(SendTrigger.REFUSE, error_code=half, error=half, status=half)
        await store.settle_send(due, refused)
        assert not await store.record_delivery(
            None, half, Delivery("sent", half), account_sid="AC1"
        )
        assert await store.find(Filter(sender=half)) == await store.find(Filter(sid=half)) == []
        assert (await store.erase(half, 10)).erased == 0
        assert {record.state for record in await store.find(Filter())} == {State.DEAD, State.DONE}
