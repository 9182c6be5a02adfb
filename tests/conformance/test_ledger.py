"""What every store promises of sends (`ports.Ledger`), each test named as a behaviour."""

from pathlib import Path

import pytest

from offhook.core.lifecycle import Delivery, SendState, SendTrigger, Trigger
from offhook.core.messages import Send
from offhook.errors import LeaseLost
from offhook.ports import Claim, SendClaim, SendOutcome, Settlement, Store
from tests.conformance.support import DONE, claim_one, draft, inbound, run

ACCEPTED = SendOutcome(SendTrigger.ACCEPT, sid="SMout", status="queued")


async def running(store: Store, sid: str = "SM1", lane: str = "lane") -> Claim:
    await store.accept(inbound(sid, lane))
    return await claim_one(store)


async def claim_sends(store: Store, *, lease: float = 30.0) -> list[SendClaim]:
    return list(await store.claim_sends(100, lease=lease, owner="w1"))


async def sends_of(store: Store, claim: Claim) -> tuple[Send, ...]:
    history = await store.show(claim.id)
    assert history is not None
    return history.sends


async def only_send(store: Store, claim: Claim) -> Send:
    (send,) = await sends_of(store, claim)
    return send


def test_a_reply_is_written_once_and_comes_back_as_repeated(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        (first,) = await store.write(one, [draft(body="hello")])
        (again,) = await store.write(one, [draft(body="other words")])
        assert (first.id, first.repeated) == (again.id, False)
        assert (again.repeated, again.body) == (True, "hello")
        assert len(await claim_sends(store)) == 1

    run(tmp_path, scenario)


def test_returned_replies_are_written_with_the_settling(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        drafts = (draft("return:0", "a"), draft("return:1", "b"))
        written = await store.settle(one, Settlement(Trigger.COMPLETE, drafts=drafts))
        assert [send.identity for send in written] == ["return:0", "return:1"]

    run(tmp_path, scenario)


def test_a_settled_run_can_send_no_more(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.settle(one, DONE)
        with pytest.raises(LeaseLost):
            await store.write(one, [draft()])

    run(tmp_path, scenario)


def test_a_conversations_sends_leave_in_order_one_at_a_time(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft("reply:0", "a"), draft("reply:1", "b")])
        (first,) = await claim_sends(store)
        assert first.draft.body == "a"
        assert await claim_sends(store) == []
        await store.settle_send(first, ACCEPTED)
        assert [send.draft.body for send in await claim_sends(store)] == ["b"]

    run(tmp_path, scenario)


def test_a_stuck_conversation_does_not_delay_others(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        for lane in ("a", "b"):
            await store.write(await running(store, f"SM{lane}", lane), [draft(body=lane)])
        first, _ = await claim_sends(store)
        await store.settle_send(first, SendOutcome(SendTrigger.POSTPONE, delay=60))
        assert await claim_sends(store) == []
        assert await store.next_send_due() == pytest.approx(30, abs=2)  # the other's lease

    run(tmp_path, scenario)


def test_a_postponed_send_comes_again_and_counts_its_tries(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.write(await running(store), [draft()])
        (first,) = await claim_sends(store)
        await store.settle_send(first, SendOutcome(SendTrigger.POSTPONE, error="429"))
        (second,) = await claim_sends(store)
        assert (first.tries, second.tries) == (1, 2)

    run(tmp_path, scenario)


def test_an_accepted_send_keeps_its_sid_and_what_is_said_of_it(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, ACCEPTED)
        await store.record_delivery(None, "SMout", Delivery("delivered"))
        await store.record_delivery(None, "SMout", Delivery("sent"))  # late
        send = await only_send(store, one)
        assert (send.state, send.sid) == (SendState.SENT, "SMout")
        assert send.delivery == Delivery("delivered")
        assert await store.next_send_due() is None

    run(tmp_path, scenario)


def test_what_was_being_sent_in_a_crash_is_unknown_and_holds_nothing_up(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft("reply:0", "a"), draft("reply:1", "b")])
        await claim_sends(store, lease=-1)
        assert [send.draft.body for send in await claim_sends(store)] == ["b"]
        assert (await sends_of(store, one))[0].state is SendState.UNKNOWN

    run(tmp_path, scenario)


def test_a_lost_answer_makes_it_unknown_and_a_callback_resolves_it(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, SendOutcome(SendTrigger.LOSE, error="no answer"))
        assert (await only_send(store, one)).state is SendState.UNKNOWN
        assert await store.record_delivery(claimed.id, "SMout", Delivery("sent"))
        send = await only_send(store, one)
        assert (send.state, send.sid, send.error) == (SendState.SENT, "SMout", "")

    run(tmp_path, scenario)


def test_a_callback_before_the_answer_is_not_undone_by_it(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft("reply:0"), draft("reply:1", "next")])
        (claimed,) = await claim_sends(store)
        await store.record_delivery(claimed.id, "SMout", Delivery("delivered"))
        await store.settle_send(claimed, SendOutcome(SendTrigger.LOSE, error="no answer"))
        send = (await sends_of(store, one))[0]
        assert (send.state, send.delivery) == (SendState.SENT, Delivery("delivered"))
        assert [later.draft.body for later in await claim_sends(store)] == ["next"]

    run(tmp_path, scenario)


def test_a_late_acceptance_makes_an_unknown_send_sent(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store, lease=-1)
        assert await claim_sends(store) == []  # unknown by now
        await store.settle_send(claimed, ACCEPTED)
        assert (await only_send(store, one)).state is SendState.SENT

    run(tmp_path, scenario)


def test_a_callback_of_another_message_is_not_taken_for_a_send(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft()])
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, ACCEPTED)
        assert not await store.record_delivery(claimed.id, "SMother", Delivery("failed"))
        assert not await store.record_delivery(None, "SMnobody", Delivery("sent"))
        assert not await store.record_delivery(4711, "SMout", Delivery("sent"))
        assert (await only_send(store, one)).delivery == Delivery("queued")

    run(tmp_path, scenario)


def test_a_notice_is_written_at_most_once_a_message(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.accept(inbound("SM1", notice_after=0))
        (late,) = await store.overdue(10)
        assert late.sender == "+1555lane"
        assert await store.notify(late.id, draft("notice:slow"))
        assert await store.notify(late.id, draft("notice:slow")) is None
        assert await store.overdue(10) == []

    run(tmp_path, scenario)


def test_a_notice_is_written_at_most_once_a_lane_in_its_time(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        for n in range(2):
            await store.accept(inbound(f"SM{n}", notice_after=0))
        written = [
            await store.notify(late.id, draft("notice:slow", once_in=600))
            for late in await store.overdue(10)
        ]
        assert [send is not None for send in written] == [True, False]
        assert await store.overdue(10) == []

    run(tmp_path, scenario)


def test_a_message_that_is_not_late_yet_or_has_settled_gets_no_notice(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.accept(inbound("SM1", "a", notice_after=60))
        await store.accept(inbound("SM2", "b", notice_after=0))
        await store.accept(inbound("SM3", "c"))
        (late,) = await store.overdue(10)
        for _ in range(3):
            await store.settle(await claim_one(store), DONE)
        assert await store.notify(late.id, draft("notice:slow")) is None
        assert await store.overdue(10) == []

    run(tmp_path, scenario)


def test_a_failure_notice_may_follow_the_settling(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.settle(one, Settlement(Trigger.GIVE_UP, "Traceback"))
        assert await store.notify(one.id, draft("notice:failure")) is None
        assert await store.notify(one.id, draft("notice:failure"), settled=True)

    run(tmp_path, scenario)


def test_a_slow_notice_is_cancelled_when_its_message_settles_first(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        await store.accept(inbound("SM1", notice_after=0))
        one = await claim_one(store)
        await store.notify(one.id, draft("notice:slow"))
        await store.settle(one, DONE)
        assert (await only_send(store, one)).state is SendState.CANCELED
        assert await claim_sends(store) == []

    run(tmp_path, scenario)


def test_an_opt_out_cancels_what_the_lane_has_not_sent(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        await store.write(one, [draft()])
        await store.settle(one, DONE)
        await store.settle(
            await running(store, "SM2"), Settlement(Trigger.COMPLETE, cancel_lane=True)
        )
        assert (await only_send(store, one)).state is SendState.CANCELED
        assert await claim_sends(store) == []

    run(tmp_path, scenario)


def test_a_replay_repeats_what_failed_and_not_what_was_sent(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
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

    run(tmp_path, scenario)


def test_recent_sends_of_the_lane_come_with_the_claim(tmp_path: Path) -> None:
    async def scenario(store: Store) -> None:
        one = await running(store)
        assert one.recent_sends == 0
        await store.write(one, [draft(f"reply:{n}") for n in range(3)])
        await store.settle(one, DONE)
        assert (await running(store, "SM2")).recent_sends == 3
        assert (await running(store, "SM3", "elsewhere")).recent_sends == 0

    run(tmp_path, scenario)
