"""What every store promises of messages (`api.Queue`), each test named as a behaviour."""

import asyncio
from dataclasses import replace

import pytest

from offhook.core.lifecycle import State, Trigger
from offhook.core.reasons import Cause, Error, stored
from offhook.errors import LeaseLost, StoreError
from offhook.stores.api import Filter, Settlement, Store
from testing.stores import DONE, claim, claim_one, draft, inbound, opened
from tests.conformance.clocks import clock_of


async def test_a_webhook_is_stored_once(url: str) -> None:
    async with opened(url) as store:
        assert await store.accept(inbound("SM1"))
        assert not await store.accept(inbound("SM1"))
        assert [record.sid for record in await store.find(Filter())] == ["SM1"]


async def test_of_many_deliveries_at_once_one_is_new(url: str) -> None:
    async with opened(url) as store:
        async with opened(url) as other:
            batch = [inbound(f"SM{n % 20}", f"{n % 20}") for n in range(200)]
            new = await asyncio.gather(
                *(s.accept(one) for one in batch for s in (store, other)),
            )
        assert sum(new) == 20
        assert len(await store.find(Filter(limit=1000))) == 20


async def test_a_batch_is_stored_in_its_order_and_each_of_it_once(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM9"))
        batch = [inbound(f"SM{n}", f"lane{n % 2}") for n in (5, 9, 3, 5, 4, 1)]
        assert list(await store.accept_all(batch)) == [True, False, True, False, True, True]
        assert not any(await store.accept_all(batch))
        stored = [record.sid for record in await store.find(Filter())][::-1]
        assert stored == ["SM9", "SM5", "SM3", "SM4", "SM1"]
        first = {one.lane: one.sid for one in await claim(store)}
        assert first == {"lane": "SM9", "lane0": "SM4", "lane1": "SM5"}


async def test_a_batch_wakes_who_waits_for_work(url: str) -> None:
    async with opened(url) as store:
        found = store.listen()
        await store.accept_all([inbound("SM1")])
        await asyncio.wait_for(found.wait(), 60)


async def test_a_webhook_is_stored_once_whichever_lane_it_is_for(url: str) -> None:
    async with opened(url) as store:
        elsewhere = inbound("SM1")._replace(lane="another")
        assert sorted(await asyncio.gather(store.accept(inbound("SM1")), store.accept(elsewhere)))
        assert not await store.accept(elsewhere._replace(lane="a third"))
        assert await store.knows(elsewhere._replace(lane="a fourth"))
        assert len(await store.find(Filter())) == 1


async def test_of_many_deliveries_for_different_lanes_at_once_one_is_new(url: str) -> None:
    async with opened(url) as store:
        async with opened(url) as other:
            here = [inbound(f"SM{n}", f"a{n}") for n in range(100)]
            there = [inbound(f"SM{n}")._replace(lane=f"b{n}") for n in reversed(range(100))]
            stored = await asyncio.gather(
                *(store.accept(one) for one in here), *(other.accept(one) for one in there)
            )
        assert sum(stored) == 100
        assert len(await store.find(Filter(limit=1000))) == 100


async def test_a_message_that_is_settled_is_still_a_repeat(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.settle(await claim_one(store), DONE)
        assert not await store.accept(inbound("SM1"))
        assert await claim(store) == ()


async def test_a_lane_gives_one_message_at_a_time_in_order(url: str) -> None:
    async with opened(url) as store:
        for n in range(3):
            await store.accept(inbound(f"SM{n}"))
        for n in range(3):
            (one,) = await claim(store)
            assert one.sid == f"SM{n}"
            assert await claim(store) == ()
            await store.settle(one, DONE)
        assert await claim(store) == ()


async def test_a_held_lane_does_not_delay_others(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", "a"))
        stuck = await claim_one(store)
        await store.accept(inbound("SM2", "a"))
        await store.accept(inbound("SM3", "b"))
        assert [one.sid for one in await claim(store)] == ["SM3"]
        await store.settle(stuck, DONE)
        assert [one.sid for one in await claim(store)] == ["SM2"]


async def test_lanes_due_longest_come_first_and_the_limit_is_kept(url: str) -> None:
    async with opened(url) as store:
        for n in range(5):
            await store.accept(inbound(f"SM{n}", f"{n}"))
            await asyncio.sleep(0.002)  # due is kept in milliseconds
        assert [one.sid for one in await claim(store, 2)] == ["SM0", "SM1"]
        assert [one.sid for one in await claim(store, 2)] == ["SM2", "SM3"]


async def test_a_retry_holds_its_lane_until_it_falls_due(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        await store.settle(await claim_one(store), Settlement(Trigger.RETRY, "boom", delay=60))
        claimed = await store.claim(9, lease=30, owner="w1", alone=False)
        assert claimed.claims == ()
        assert claimed.next_due == pytest.approx(60, abs=20)
        await store.accept(inbound("SM3"))  # a newcomer does not open the lane
        assert await claim(store) == ()


async def test_a_retry_that_is_due_comes_again_before_its_successors(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        first = await claim_one(store)
        assert first.attempt == 1
        await store.settle(first, Settlement(Trigger.RETRY, "boom", delay=0))
        again = await claim_one(store)
        assert (again.sid, again.attempt) == ("SM1", 2)


async def test_a_retry_may_let_its_lane_go_on(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        skipped = Settlement(Trigger.RETRY, "boom", delay=60, holds_lane=False)
        await store.settle(await claim_one(store), skipped)
        second = await claim_one(store)
        assert second.sid == "SM2"
        await store.settle(second, DONE)
        await store.accept(inbound("SM3"))
        assert (await claim_one(store)).sid == "SM3"


async def test_a_lane_of_skipped_retries_falls_due_with_the_first(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        skipped = Settlement(Trigger.RETRY, "boom", delay=40, holds_lane=False)
        await store.settle(await claim_one(store), skipped)
        claimed = await store.claim(9, lease=30, owner="w1", alone=False)
        assert claimed.claims == ()
        assert claimed.next_due == pytest.approx(40, abs=20)


async def test_an_expired_lease_is_rescued_and_counted_as_a_crash(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await claim_one(store, lease=-1)
        again = await claim_one(store)
        assert (again.attempt, again.crashes) == (1, 1)


async def test_a_late_worker_cannot_settle_a_rescued_message(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        late = await claim_one(store, lease=-1)
        now = await claim_one(store)
        with pytest.raises(LeaseLost):
            await store.settle(late, DONE)
        with pytest.raises(LeaseLost):
            await store.write(late, [draft()])
        await store.settle(now, DONE)
        with pytest.raises(LeaseLost):
            await store.settle(late, DONE)


async def test_a_lease_that_ran_out_still_settles_when_nobody_took_over(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.settle(await claim_one(store, lease=-1), DONE)
        assert (await store.find(Filter()))[0].state is State.DONE


async def test_settling_again_with_the_same_token_changes_nothing(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        one = await claim_one(store)
        await store.settle(one, DONE)
        await store.settle(one, Settlement(Trigger.GIVE_UP, "late", drafts=(draft(),)))
        assert await claim_one(store)
        history = await store.show(one.id)
        assert history is not None
        assert history.record.state is State.DONE
        assert history.sends == ()


async def test_a_settling_that_repeats_does_not_touch_the_next_lease(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        first = await claim_one(store)
        await store.settle(first, DONE)
        await claim_one(store)
        await store.accept(inbound("SM3"))
        await store.settle(first, DONE)
        assert await claim(store) == ()  # SM2 still holds the lane


async def test_renewing_keeps_a_lease_and_tells_what_is_lost(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", "a"))
        await store.accept(inbound("SM2", "b"))
        kept, lost = await claim(store, lease=-1)
        assert await store.renew([kept.token], lease=30) == frozenset()
        assert [one.sid for one in await claim(store)] == [lost.sid]
        assert await store.renew([kept.token, lost.token], lease=30) == {lost.token}


async def test_a_dead_workers_leases_are_released_at_once(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", "a"))
        await store.accept(inbound("SM2", "b"))
        await claim_one(store, owner="dead")
        await claim_one(store, owner="alive")
        assert await store.release("dead") == 1
        assert [one.sid for one in await claim(store)] == ["SM1"]


async def test_after_two_crashes_a_message_is_claimed_alone(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", "a"))
        for _ in range(2):
            await claim_one(store, lease=-1)
        await store.accept(inbound("SM2", "b"))
        claimed = await store.claim(9, lease=30, owner="w1", alone=False)
        assert [one.sid for one in claimed.claims] == ["SM2"]
        assert claimed.suspects
        await store.accept(inbound("SM3", "c"))
        assert [one.sid for one in await claim(store, alone=True)] == ["SM1"]


async def test_after_five_crashes_a_message_is_dead_and_its_lane_goes_on(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        for crash in range(5):
            await store.claim(1, lease=30, owner="w1", alone=False)
            (one,) = await claim(store, lease=-1, alone=True) if crash > 1 else (None,)
            assert one is None or one.sid == "SM1"
            await store.release("w1")
        claimed = await store.claim(9, lease=30, owner="w1", alone=True)
        assert [one.sid for one in claimed.claims] == ["SM2"]
        assert [one.sender for one in claimed.buried] == ["+1555lane"]
        (dead,) = await store.find(Filter(state=State.DEAD))
        assert (dead.sid, dead.error) == ("SM1", Cause.WORKER_DIED(5, 5))
        history = await store.show(dead.id)
        assert history is not None
        assert [one.error for one in history.attempts] == [
            Cause.WORKER_DIED(crash, 5) for crash in range(1, 6)
        ]


async def test_explanations_come_back_and_foreign_words_are_none(url: str) -> None:
    async with opened(url) as store:
        forged = stored(Cause.NO_HANDLER("Ann"))
        errors: tuple[Error, ...] = (Cause.TIMED_OUT(0.25), forged, "my\nwords")
        for number, error in enumerate(errors):
            await store.accept(inbound(f"SM{number}", f"{number}"))
            await store.settle(await claim_one(store), Settlement(Trigger.PARK, error))
        assert [record.error for record in await store.find(Filter(state=State.PARKED))] == [
            "my\nwords", f" {forged}", Cause.TIMED_OUT(0.25),
        ]  # fmt: skip
        (first, *_) = await store.find(Filter(state=State.PARKED))
        assert await store.replay(first.id)
        history = await store.show(first.id)
        assert history is not None
        assert history.attempts[-1].error == Cause.OPERATOR()


async def test_an_interrupted_run_costs_no_attempt(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.settle(await claim_one(store), Settlement(Trigger.INTERRUPT, "going down"))
        again = await claim_one(store)
        assert (again.attempt, again.crashes) == (1, 0)


async def test_an_interrupted_run_may_be_held_back(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.settle(await claim_one(store), Settlement(Trigger.INTERRUPT, delay=60))
        assert await claim(store) == ()


async def test_a_parked_message_leaves_its_lane(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        await store.settle(await claim_one(store), Settlement(Trigger.PARK, "loop-suspected"))
        assert (await claim_one(store)).sid == "SM2"


async def test_a_replay_comes_with_the_claim(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        first = await claim_one(store)
        assert not first.replayed
        await store.settle(first, Settlement(Trigger.PARK, "sender-limit"))
        assert await store.replay(first.id)
        assert (await claim_one(store)).replayed


async def test_a_replayed_message_goes_to_the_tail(url: str) -> None:
    async with opened(url) as store:
        for n in range(2):
            await store.accept(inbound(f"SM{n}"))
        first = await claim_one(store)
        await store.settle(first, Settlement(Trigger.GIVE_UP, "Traceback"))
        assert await store.replay(first.id)
        await store.accept(inbound("SM2"))
        order = []
        while claims := await claim(store):
            order.append(claims[0].sid)
            await store.settle(claims[0], DONE)
        assert order == ["SM1", "SM0", "SM2"]
        history = await store.show(first.id)
        assert history is not None
        assert [attempt.trigger for attempt in history.attempts] == [
            Trigger.GIVE_UP,
            Trigger.REPLAY,
        ]


async def test_a_live_message_cannot_be_replayed_and_a_running_one_not_dropped(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        one = await claim_one(store)
        assert not await store.replay(one.id)
        assert not await store.drop(one.id)
        assert not await store.replay(10_000)


AGAIN = Settlement(Trigger.RETRY, "it failed", delay=600)


async def test_a_waiting_message_that_is_replayed_is_due_at_once_in_its_place(url: str) -> None:
    async with opened(url) as store:
        for sid in ("SM1", "SM2"):
            await store.accept(inbound(sid))
        first = await claim_one(store)
        await store.settle(first, AGAIN)
        assert await claim(store) == ()
        assert await store.replay(first.id)
        again = await claim_one(store)
        assert (again.sid, again.attempt, again.replayed) == ("SM1", 2, False)
        assert await claim(store) == ()
        await store.settle(again, AGAIN)
        assert await store.replay(first.id)
        again = await claim_one(store)
        assert (again.sid, again.attempt) == ("SM1", 2)  # attempts count anew
        await store.settle(again, DONE)
        assert (await claim_one(store)).sid == "SM2"


async def test_what_is_replayed_while_a_later_one_runs_goes_next_and_not_beside_it(
    url: str,
) -> None:
    async with opened(url) as store:
        for sid in ("SM1", "SM2", "SM3"):
            await store.accept(inbound(sid))
        first = await claim_one(store)
        await store.settle(first, replace(AGAIN, holds_lane=False))
        second = await claim_one(store)
        assert second.sid == "SM2"
        assert await store.replay(first.id)
        assert await claim(store) == ()
        await store.settle(second, DONE)
        assert (await claim_one(store)).sid == "SM1"


async def test_a_replay_does_not_overtake_what_holds_the_lane(url: str) -> None:
    async with opened(url) as store:
        for sid in ("SM1", "SM2"):
            await store.accept(inbound(sid))
        first = await claim_one(store)
        await store.settle(first, replace(AGAIN, holds_lane=False))
        second = await claim_one(store)
        await store.settle(second, AGAIN)
        assert await store.replay(first.id)
        first = await claim_one(store)
        await store.settle(first, AGAIN)  # from now on it holds the lane
        assert await store.replay(second.id)
        assert await claim(store) == ()
        assert await store.replay(first.id)
        await store.settle(await claim_one(store), DONE)
        assert (await claim_one(store)).sid == "SM2"


async def behind(store: Store, sid: str) -> tuple[str, State] | None:
    """Return the SID and the state of what a message waits behind."""
    (record,) = await store.find(Filter(sid=sid))
    history = await store.show(record.id)
    assert history is not None
    if history.behind is None:
        return None
    ahead = await store.show(history.behind.id)
    assert ahead is not None
    assert ahead.record.due == history.behind.due
    return ahead.record.sid, history.behind.state


async def test_it_is_known_what_a_message_waits_behind(url: str) -> None:
    async with opened(url) as store:
        for sid, lane in (("SM1", "a"), ("SM2", "a"), ("SM3", "a"), ("SM4", "b")):
            await store.accept(inbound(sid, lane))
        assert await behind(store, "SM1") is None
        assert await behind(store, "SM3") == ("SM1", State.OPEN)
        first, other = await claim(store)
        assert await behind(store, "SM1") is None
        assert await behind(store, "SM2") == ("SM1", State.RUNNING)
        await store.settle(first, AGAIN)
        assert await behind(store, "SM1") is None
        assert await behind(store, "SM3") == ("SM1", State.WAITING)
        await store.replay(first.id)
        await store.settle(await claim_one(store), replace(AGAIN, holds_lane=False))
        assert await behind(store, "SM2") is None
        assert await behind(store, "SM3") == ("SM2", State.OPEN)
        await claim_one(store)
        assert await behind(store, "SM1") == ("SM2", State.RUNNING)
        await store.settle(other, DONE)
        assert await behind(store, "SM4") is None


async def test_dropping_what_holds_a_lane_opens_it(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        first = await claim_one(store)
        await store.settle(first, Settlement(Trigger.RETRY, delay=600))
        assert await store.drop(first.id)
        assert (await claim_one(store)).sid == "SM2"


async def test_a_crashed_run_is_rescued_before_a_retry_that_has_come_due_in_front_of_it(
    url: str,
) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        skipped = Settlement(Trigger.RETRY, delay=10.0, holds_lane=False)
        await store.settle(await claim_one(store), skipped)
        crashed = await claim_one(store)
        assert crashed.sid == "SM2"
        async with clock_of(url) as clock:
            await clock.advance(11)
        await store.release("w1")
        assert [one.sid for one in await claim(store)] == ["SM1"]
        with pytest.raises(LeaseLost):
            await store.settle(crashed, DONE)
        assert [r.sid for r in await store.find(Filter(state=State.RUNNING))] == ["SM1"]


async def test_what_comes_after_a_dropped_suspect_is_no_suspect(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.accept(inbound("SM2"))
        for _ in range(2):
            suspect = await claim_one(store, lease=-1)
        assert (await store.claim(9, lease=30, owner="w1", alone=False)).suspects
        assert await store.drop(suspect.id)
        assert [one.sid for one in await claim(store)] == ["SM2"]


async def test_listeners_of_all_processes_are_woken(url: str) -> None:
    async with opened(url) as store, opened(url) as other:
        here, there = store.listen(), other.listen()
        await store.accept(inbound("SM1"))
        async with asyncio.timeout(60):
            await here.wait()
            await there.wait()


async def test_many_workers_settle_everything_once_and_in_order(url: str) -> None:
    """Invariant: over 3 stores on one database, each message settles once, lanes in order."""
    lanes, each = 20, 10

    async with opened(url) as store:
        # The next of a lane can be claimed before its predecessor is told that it has settled.
        claimed: list[str] = []
        settled: list[str] = []

        async def work(owner: str) -> None:
            async with opened(url) as mine:
                while len(settled) < lanes * each:
                    claims = await claim(mine, 7, owner=owner)
                    claimed.extend(one.sid for one in claims)
                    for one in claims:
                        await mine.settle(one, DONE)
                        settled.append(one.sid)

        async def feed() -> None:
            for n in range(each):
                await asyncio.gather(
                    *(store.accept(inbound(f"{lane}-{n}", f"{lane}")) for lane in range(lanes))
                )

        async with asyncio.timeout(240):
            await asyncio.gather(feed(), *(work(f"w{n}") for n in range(3)))
        assert len(settled) == len(set(settled)) == lanes * each
        assert len(claimed) == len(settled)
        for lane in range(lanes):
            assert [sid for sid in claimed if sid.startswith(f"{lane}-")] == [
                f"{lane}-{n}" for n in range(each)
            ]


async def test_the_store_at_a_glance(url: str) -> None:
    async with opened(url) as store:
        for n in range(4):
            await store.accept(inbound(f"SM{n}", f"{n}"))
        done, dead, _ = await claim(store, 3)
        await store.settle(done, Settlement(Trigger.COMPLETE, drafts=(draft(),)))
        await store.settle(dead, Settlement(Trigger.GIVE_UP))
        counts = await store.counts()
        assert {state: n for state, n in counts.messages.items() if n} == {
            State.OPEN: 1,
            State.RUNNING: 1,
            State.DONE: 1,
            State.DEAD: 1,
        }
        assert {str(state): n for state, n in counts.sends.items() if n} == {"pending": 1}
        assert (counts.received, counts.settled) == (4, 2)
        assert counts.oldest is not None
        assert counts.oldest < 10


async def test_listing_filters_and_pages(url: str) -> None:
    async with opened(url) as store:
        for n in range(6):
            await store.accept(inbound(f"SM{n}", f"{n % 2}"))
        newest = await store.find(Filter(limit=2))
        assert [record.sid for record in newest] == ["SM5", "SM4"]
        older = await store.find(Filter(limit=2, before_id=newest[-1].id))
        assert [record.sid for record in older] == ["SM3", "SM2"]
        assert len(await store.find(Filter(sender="+15551"))) == 3
        assert [r.sid for r in await store.find(Filter(sid="SM1"))] == ["SM1"]
        assert await store.find(Filter(until=newest[0].received - 3600)) == []


async def test_what_was_claimed_without_an_answer_is_handed_back(url: str) -> None:
    async with opened(url) as store:
        for lane in ("a", "b", "c"):
            await store.accept(inbound(f"SM{lane}", lane))
        held = await claim_one(store)
        lost = await claim_one(store)
        others = await claim_one(store, owner="w2")
        assert await store.hand_back("w1", [held.token]) == 1
        (again,) = await claim(store)
        assert (again.sid, again.attempt, again.crashes) == (lost.sid, 1, 0)
        for one in (held, others, again):
            await store.settle(one, DONE)
        with pytest.raises(LeaseLost):
            await store.settle(lost, DONE)
        history = await store.show(lost.id)
        assert history is not None
        assert [attempt.trigger for attempt in history.attempts] == [Trigger.INTERRUPT]


async def test_what_has_been_settled_is_not_handed_back(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await store.settle(await claim_one(store), DONE)
        assert await store.hand_back("w1", []) == 0
        assert await claim(store) == ()


async def test_a_webhook_that_cannot_be_stored_fails_alone(url: str) -> None:
    async with opened(url) as store:
        beyond = inbound("SM2", notice_after=1e300)  # no store's time reaches that far
        first, unstorable, last = await asyncio.gather(
            store.accept(inbound("SM1")),
            store.accept(beyond),
            store.accept(inbound("SM3")),
            return_exceptions=True,
        )
        assert (first, last) == (True, True)
        assert type(unstorable) is StoreError  # and not that it may succeed later
        assert {record.sid for record in await store.find(Filter())} == {"SM1", "SM3"}
