"""What sends cost is summed up by day and by conversation, on every store."""

import time
from dataclasses import replace

from offhook.core.cost import ConversationSpent, Cost, DaySpent, Spent
from offhook.core.lifecycle import Delivery, SendTrigger, Trigger
from offhook.stores.api import SendClaim, SendOutcome, Settlement, Store
from testing.stores import claim_one, draft, inbound, opened

ANN, BOB, OURS = "+15551230001", "+15551230002", "+15005550006"
DAY = 86_400


async def claimed(store: Store, to: str, *, sid: str = "SM1") -> SendClaim:
    await store.accept(inbound(sid, to))
    one = replace(draft("return:0", "hello"), sender=OURS, to=to)
    await store.settle(await claim_one(store), Settlement(Trigger.COMPLETE, drafts=(one,)))
    (claim,) = (await store.claim_sends(10, lease=30.0, owner="w1")).claims
    return claim


async def send(store: Store, to: str, sid: str, cost: Cost) -> SendClaim:
    claim = await claimed(store, to, sid=sid)
    await store.settle_send(claim, accepted(sid, cost))
    return claim


def accepted(sid: str, cost: Cost) -> SendOutcome:
    return SendOutcome(SendTrigger.ACCEPT, sid=f"{sid}out", status="queued", cost=cost)


def today() -> int:
    return int(time.time()) // DAY * DAY


async def test_segments_and_prices_are_summed_up(url: str) -> None:
    async with opened(url) as store:
        begun = today()
        await send(store, ANN, "SM1", Cost(2, 15_800, "USD"))
        await send(store, ANN, "SM2", Cost(1, 7_900, "USD"))
        await send(store, BOB, "SM3", Cost(5))
        found = await store.spending(begun, 10)
        assert sum(day.spent.segments for day in found.days) == 8
        assert found.conversations == (
            ConversationSpent(OURS, BOB, Spent(1, 5)),
            ConversationSpent(OURS, ANN, Spent(2, 3, 2, 23_700, "USD")),
        )
        if today() == begun:  # a test may run at midnight
            assert found.days == (
                DaySpent(begun, Spent(1, 5)),
                DaySpent(begun, Spent(2, 3, 2, 23_700, "USD")),
            )
        assert len((await store.spending(begun, 1)).conversations) == 1
        assert (await store.spending(time.time() + DAY, 10)).days == ()


async def test_what_twilio_did_not_accept_costs_nothing(url: str) -> None:
    async with opened(url) as store:
        refused = await claimed(store, ANN)
        await store.settle_send(refused, SendOutcome(SendTrigger.REFUSE, error_code="21610"))
        lost = await claimed(store, BOB, sid="SM2")
        await store.settle_send(lost, SendOutcome(SendTrigger.LOSE, cost=Cost(3)))
        assert (await store.spending(0.0, 10)).conversations == ()

        confirmed = Delivery("delivered")
        assert await store.record_delivery(lost.id, "SM2out", confirmed, account_sid="AC1")
        (one,) = (await store.spending(0.0, 10)).conversations
        assert one.spent == Spent(1, 3)


async def test_a_status_that_comes_before_the_answer_hides_no_cost(url: str) -> None:
    async with opened(url) as store:
        early = await claimed(store, ANN)
        sent = Delivery("sent")
        assert await store.record_delivery(early.id, "SM1out", sent, account_sid="AC1")
        for _ in range(2):  # an outcome may be recorded again
            await store.settle_send(early, accepted("SM1", Cost(2, 15_800, "USD")))
        (one,) = (await store.spending(0.0, 10)).conversations
        assert one.spent == Spent(1, 2, 1, 15_800, "USD")
