"""What every store promises of unknown sends, each test named as a behaviour."""

from dataclasses import replace

import pytest

from offhook.core.lifecycle import Delivery, SendState, SendTrigger, Trigger
from offhook.core.unknown_sends import (
    FIRST_LOOK,
    LOOKED_FOR,
    REPEATS,
    SECOND_LOOK,
    TEXT_NEEDED,
    Finding,
    Unknown,
    Verdict,
)
from offhook.stores.api import Claim, Draft, Inquiry, SendClaim, SendOutcome, Settlement, Store
from testing.stores import DONE, claim_one, draft, inbound, opened
from tests.conformance.clocks import clock_of
from tests.conformance.test_ledger import ACCEPTED, claim_sends, only_send, running, sends_of
from tests.conformance.test_send_requests import DAY, request

LOST = SendOutcome(SendTrigger.LOSE, error="no answer")
ANN, BOB = "+15551230001", "+15551230002"
WAIT, AGAIN = int(FIRST_LOOK) + 1, int(SECOND_LOOK) + 1
LEASE = 300


async def busy(store: Store, sid: str = "SM1", lane: str = "lane") -> Claim:
    """Return a message that runs for as long as the test goes on."""
    await store.accept(inbound(sid, lane))
    return await claim_one(store, lease=1e6)


async def lose(store: Store, *drafts: Draft, lane: str = "lane") -> Claim:
    """Write sends, which become unknown one after the other."""
    one = await busy(store, f"SM{lane}", lane)
    await store.write(one, drafts)
    for _ in drafts:
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, LOST)
    return one


async def look(store: Store) -> Inquiry:
    inquiry = await store.claim_unknown(lease=LEASE)
    assert inquiry is not None
    return inquiry


def verdicts(inquiry: Inquiry, finding: Finding, again: float = 0.0) -> list[Verdict]:
    return [Verdict(send, finding, again=again) for send in inquiry.sends]


async def say(store: Store, finding: Finding) -> SendTrigger | None:
    """Look the one send up that is due, and settle that."""
    inquiry = await look(store)
    (happened,) = (*(await store.settle_unknown(verdicts(inquiry, finding))).values(), None)[:1]
    return happened


async def test_an_unknown_send_is_due_after_a_minute_and_given_to_one_at_a_time(url: str) -> None:
    async with opened(url) as store, opened(url) as other, clock_of(url) as clock:
        one = await lose(store, replace(draft(), media=("https://a/1",), content_sid="HX1"))
        assert await store.claim_unknown(lease=LEASE) is None
        await clock.advance(WAIT)
        inquiry = await look(store)
        assert (inquiry.account_sid, inquiry.recipients) == ("AC1", (ANN,))
        (send,) = inquiry.sends
        assert send.written == pytest.approx(WAIT, abs=30)
        assert send.lost == pytest.approx(WAIT, abs=30)
        assert send == Unknown(
            (await only_send(store, one)).id, one.id, "reply:0", "+15005550006", ANN, "hello",
            ("https://a/1",), True, send.written, send.lost, looks=1,
        )  # fmt: skip
        assert await other.claim_unknown(lease=LEASE) is None
        await clock.advance(LEASE)
        (again,) = (await look(other)).sends
        assert (again.id, again.looks) == (send.id, 2)


async def test_a_persons_unknown_sends_are_looked_up_together(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        await lose(store, draft("reply:0"), draft("reply:1"))
        await lose(store, replace(draft(), to=BOB), lane="bob")
        await lose(store, replace(draft(), account_sid="AC2"), lane="another account")
        await clock.advance(WAIT)
        await lose(store, draft("reply:0", "later"), lane="later")
        inquiries = [await look(store) for _ in range(3)]
        assert await store.claim_unknown(lease=LEASE) is None
        found = [(one.account_sid, one.recipients, len(one.sends)) for one in inquiries]
        assert found == [("AC1", (ANN,), 3), ("AC1", (BOB,), 1), ("AC2", (ANN,), 1)]


@pytest.mark.parametrize(
    ("sender", "to", "listed"),
    [
        ("MG" + "0" * 32, ANN, (ANN, f"rcs:{ANN}")),
        ("rcs:bot", f"rcs:{ANN}", (ANN, f"rcs:{ANN}")),
        ("whatsapp:+15005550006", f"whatsapp:{ANN}", (f"whatsapp:{ANN}",)),
        ("whatsapp:+15005550006", "whatsapp:US.1349", ()),
        ("+15005550006", "+1 555 123 0001", ()),
    ],
)
async def test_a_person_may_be_listed_under_several_addresses(
    url: str, sender: str, to: str, listed: tuple[str, ...]
) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        await lose(store, replace(draft(), sender=sender, to=to))
        await clock.advance(WAIT)
        assert (await look(store)).recipients == listed


async def test_what_was_missing_twice_is_sent_again_before_what_came_later(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await lose(store, draft())
        await clock.advance(WAIT)
        assert await say(store, Finding.MISSING) is None
        await clock.advance(AGAIN)
        inquiry = await look(store)
        assert inquiry.sends[0].missing == pytest.approx(AGAIN, abs=30)
        await store.write(one, [draft("reply:1", "later")])
        happened = await store.settle_unknown(verdicts(inquiry, Finding.REPEAT))
        assert happened == {inquiry.sends[0].id: SendTrigger.REPEAT}
        assert await store.next_send_due() == 0.0
        (again,) = await claim_sends(store)
        assert (again.draft.body, again.tries) == ("hello", 2)
        await store.settle_send(again, ACCEPTED)
        assert [sent.draft.body for sent in await claim_sends(store)] == ["later"]
        first = (await sends_of(store, one))[0]
        assert (first.state, first.error) == (SendState.SENT, "")


async def test_it_is_looked_up_when_its_verdict_says(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        await lose(store, draft())
        await clock.advance(WAIT)
        await store.settle_unknown(verdicts(await look(store), Finding.MISSING, again=1000))
        await clock.advance(900)
        assert await store.claim_unknown(lease=LEASE) is None
        await clock.advance(200)
        await store.settle_unknown(verdicts(await look(store), Finding.UNCERTAIN))
        (send,) = (await look(store)).sends
        assert (send.looks, send.missing) == (3, None), "two lists in a row have to lack it"


async def test_it_is_looked_up_no_more_when_a_reply_would_be_too_late(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        await lose(store, draft())
        await clock.advance(int(LOOKED_FOR))
        assert await store.claim_unknown(lease=LEASE) is None


async def test_it_is_sent_again_a_few_times_and_then_given_up(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await lose(store, draft())
        for _ in range(REPEATS):
            await clock.advance(WAIT)
            assert await say(store, Finding.REPEAT) is SendTrigger.REPEAT
            (again,) = await claim_sends(store)
            await store.settle_send(again, LOST)
        await clock.advance(WAIT)
        assert await say(store, Finding.REPEAT) is SendTrigger.GIVE_UP
        send = await only_send(store, one)
        assert (send.state, await claim_sends(store)) == (SendState.FAILED, [])
        assert send.error == "sent 4 times, and Twilio's message list never had it"


@pytest.mark.parametrize("lost_before", [True, False])
async def test_it_is_not_sent_again_to_a_person_who_has_opted_out(
    url: str, lost_before: bool
) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await running(store)
        await store.settle(one, Settlement(Trigger.COMPLETE, drafts=(draft(),)))
        (claimed,) = await claim_sends(store)
        if lost_before:
            await store.settle_send(claimed, LOST)
        stop = await running(store, "SM2")
        await store.settle(stop, Settlement(Trigger.COMPLETE, cancel_lane=True))
        await store.settle_send(claimed, LOST)
        await clock.advance(WAIT)
        assert await say(store, Finding.REPEAT) is SendTrigger.WITHDRAW
        assert (await only_send(store, one)).state is SendState.CANCELED
        assert await store.next_send_due() is None


@pytest.mark.parametrize("lost_before", [True, False])
async def test_it_is_not_sent_again_to_a_person_who_has_written_first(
    url: str, lost_before: bool
) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        nudge = request("nudge", key="k", unless_reply=True)
        await store.request(nudge)
        await store.request(request("another", lane="other", unless_reply=True))
        claimed, another = await claim_sends(store)
        if lost_before:
            await store.settle_send(claimed, LOST)
        await store.start_due(10)
        await store.accept(inbound("SM1"))
        await store.settle_send(claimed, LOST)
        await store.settle_send(another, ACCEPTED)
        await clock.advance(WAIT)
        assert await say(store, Finding.REPEAT) is SendTrigger.WITHDRAW
        (known,) = await store.request(nudge)
        assert (known.state, await claim_sends(store)) == (SendState.CANCELED, [])


async def test_what_was_scheduled_can_not_have_left_before_its_time(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        await store.request(request("rent is due", at=30 * DAY))
        await clock.advance(30 * DAY + 1)
        assert await store.start_due(10) == 1
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, LOST)
        await clock.advance(WAIT)
        (send,) = (await look(store)).sends
        assert send.written == pytest.approx(WAIT, abs=60)


@pytest.mark.parametrize(
    ("settled", "trigger"), [(True, SendTrigger.WITHDRAW), (False, SendTrigger.REPEAT)]
)
async def test_a_slow_notice_is_sent_again_only_while_its_message_waits(
    url: str, settled: bool, trigger: SendTrigger
) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await busy(store)
        await store.notify(one.id, draft("notice:slow"))
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, LOST)
        if settled:
            await store.settle(one, DONE)
        await clock.advance(WAIT)
        assert await say(store, Finding.REPEAT) is trigger


async def sent_again(store: Store) -> SendClaim:
    """Return the claim of a send that became unknown, and is pending once more."""
    await store.write(await busy(store), [draft()])
    (claimed,) = await claim_sends(store)
    await store.settle_send(claimed, LOST)
    return claimed


async def test_a_late_callback_keeps_it_from_being_sent_again(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        claimed = await sent_again(store)
        await clock.advance(WAIT)
        assert await say(store, Finding.REPEAT) is SendTrigger.REPEAT
        assert await store.record_delivery(claimed.id, "SMout", Delivery("sent"), account_sid="AC1")
        assert (await claim_sends(store), await store.next_send_due()) == ([], None)


async def test_a_late_answer_keeps_it_from_being_sent_again(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        claimed = await sent_again(store)
        await clock.advance(WAIT)
        assert await say(store, Finding.REPEAT) is SendTrigger.REPEAT
        await store.settle_send(claimed, ACCEPTED)
        assert (await claim_sends(store), await store.next_send_due()) == ([], None)


async def test_a_verdict_that_comes_late_changes_nothing(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await lose(store, draft("reply:0"), draft("reply:1"))
        await clock.advance(WAIT)
        early = await look(store)
        await clock.advance(LEASE)
        late = await look(store)
        assert await store.settle_unknown(verdicts(early, Finding.REPEAT)) == {}
        first, second = [send.id for send in late.sends]
        await store.record_delivery(first, "SMout", Delivery("sent"), account_sid="AC1")
        happened = await store.settle_unknown(verdicts(late, Finding.REPEAT))
        assert happened == {second: SendTrigger.REPEAT}
        states = [send.state for send in await sends_of(store, one)]
        assert states == [SendState.SENT, SendState.PENDING]


async def test_what_twilio_has_accepted_meanwhile_bears_witness_of_the_list(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await lose(store, draft("reply:0"))
        for number, to in enumerate((ANN, BOB), 1):
            await store.write(one, [replace(draft(f"reply:{number}"), to=to)])
            (claimed,) = await claim_sends(store)
            await store.settle_send(claimed, replace(ACCEPTED, sid=f"SM{to}"))
        await clock.advance(WAIT)
        await store.write(one, [draft("reply:3")])
        (claimed,) = await claim_sends(store)
        await store.settle_send(claimed, replace(ACCEPTED, sid="SMnew"))
        inquiry = await look(store)
        assert inquiry.witnesses == {f"SM{ANN}"}
        asked = [f"SM{ANN}", "SMnew", "SMnobody", f"SM{BOB}"]
        known = frozenset({f"SM{ANN}", "SMnew", f"SM{BOB}"})
        assert await store.known_sids(inquiry, asked) == known
        assert await store.known_sids(replace(inquiry, account_sid="AC2"), asked) == frozenset()
        assert await store.known_sids(inquiry, []) == frozenset()


async def test_while_something_is_being_sent_nobody_knows_whose_message_is_listed(
    url: str,
) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await lose(store, draft("reply:0"))
        await clock.advance(WAIT)
        inquiry = await look(store)
        assert await store.known_sids(inquiry, ["SM1"]) == frozenset()
        await store.write(one, [replace(draft("reply:1"), to=BOB), draft("reply:2")])
        (to_bob,) = await claim_sends(store)
        assert await store.known_sids(inquiry, ["SM1"]) == frozenset()
        await store.settle_send(to_bob, ACCEPTED)
        (to_ann,) = await claim_sends(store)
        assert await store.known_sids(inquiry, ["SM1"]) is None
        await store.settle_send(to_ann, LOST)
        assert await store.known_sids(inquiry, ["SM1"]) is None, "it is not among those looked up"


async def test_a_text_stays_as_long_as_it_may_be_sent_again(url: str) -> None:
    async with opened(url) as store, clock_of(url) as clock:
        one = await lose(store, draft())
        await store.settle(one, DONE)
        assert await store.reduce(10) == 0
        await clock.advance(int(LOOKED_FOR))
        assert await store.reduce(10) == 0, "a look that began in time may end now"
        await clock.advance(int(TEXT_NEEDED - LOOKED_FOR))
        assert await store.reduce(10) == 1
        assert (await only_send(store, one)).body == ""
