"""Operating a store: counting, pruning, reducing, erasing, while it works."""

import asyncio
import statistics
from dataclasses import replace
from typing import Any
from urllib.parse import urlencode

import asyncpg
import pytest

from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, SendTrigger, State, Trigger
from offhook.core.messages import Send
from offhook.core.search import Phrase
from offhook.errors import StoreUnavailable
from offhook.stores.api import (
    Filter,
    Record,
    Retention,
    SendOutcome,
    Settlement,
    Store,
)
from testing.stores import DONE, claim, claim_one, draft, inbound, opened

NOTHING = Retention(settled=3600, dead=3600, parked=3600, keys=3600)
OVER = -1.0  # seconds: what ends in this second is over
SETTLED = replace(NOTHING, settled=OVER)
ALL = replace(NOTHING, settled=OVER, dead=OVER, parked=OVER)
ANN, BOB = "+15551230001", "+15551230002"


def message(sid: str, sender: str, *, body: str = "my secret") -> Inbound:
    """Return a message of a person's, in a lane of its own."""
    form = {"MessageSid": sid, "From": sender, "Body": body, "ProfileName": "Ann", "NumMedia": "0"}
    return inbound(sid, f"{sender}|{sid}")._replace(sender=sender, form=urlencode(form).encode())


async def settle_next(store: Store, settlement: Settlement = DONE) -> int:
    one = await claim_one(store)
    await store.settle(one, settlement)
    return one.id


async def send_next(store: Store, trigger: SendTrigger = SendTrigger.ACCEPT) -> int:
    (one,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
    await store.settle_send(one, SendOutcome(trigger, sid=f"SM{one.id}"))
    return one.id


async def listed(store: Store) -> list[str]:
    return [record.sid for record in await store.find(Filter(limit=10_000))]


async def record_of(store: Store, sid: str) -> Record:
    (record,) = await store.find(Filter(sid=sid))
    return record


async def sends_of(store: Store, sid: str) -> tuple[Send, ...]:
    history = await store.show((await record_of(store, sid)).id)
    assert history is not None
    return history.sends


# A spool's messages


async def test_a_spooled_message_is_as_old_as_it_is(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", "1"))
        late = inbound("SM2", "2", notice_after=10.0)._replace(age=600.0, spooled=True)
        await store.accept(late)
        first, second = await record_of(store, "SM1"), await record_of(store, "SM2")
        assert (first.spooled, second.spooled) == (False, True)
        assert 550 < first.received - second.received < 601
        assert [one.id for one in await store.overdue(10)] == [second.id]
        counts = await store.counts()
        assert counts.oldest is not None
        assert counts.oldest >= 600


# Counting


async def test_the_backlog_is_counted_as_far_as_it_is_asked_for(url: str) -> None:
    async with opened(url) as store:
        for n in range(5):
            await store.accept(inbound(f"SM{n}", f"{n}"))
        await settle_next(store)
        await settle_next(store, Settlement(Trigger.RETRY, delay=60))
        await claim_one(store)
        assert await store.backlog(100) == 4
        assert await store.backlog(3) == 3


async def test_a_known_webhook_is_known_and_another_is_not(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        assert await store.knows(inbound("SM1"))
        assert not await store.knows(inbound("SM2"))
        assert not await store.knows(inbound("SM1", kind=Kind.STATUS))


async def test_counts_are_those_of_the_messages_and_sends_that_are_there(url: str) -> None:
    """Invariant: whatever has happened to them, each is counted once, in its state."""

    async with opened(url) as store:
        for n in range(14):
            await store.accept(inbound(f"SM{n:02}", f"{n:02}"))
        endings = [
            Settlement(Trigger.COMPLETE, drafts=(draft("return:0"), draft("return:1"))),
            Settlement(Trigger.DISCARD),
            Settlement(Trigger.GIVE_UP),
            Settlement(Trigger.PARK),
            Settlement(Trigger.RETRY, delay=60, drafts=(draft(),)),
            Settlement(Trigger.INTERRUPT, delay=60),
        ]
        ended = [await settle_next(store, ending) for _ in range(2) for ending in endings]
        await claim_one(store)
        await send_next(store)
        await send_next(store, SendTrigger.LOSE)
        await store.claim_sends(1, lease=30.0, owner="w1")
        assert await store.replay(ended[0])
        assert await store.drop(ended[2])
        assert await store.drop(ended[3])
        assert await store.prune(SETTLED, 2) == 2

        counts = await store.counts()
        records = await store.find(Filter(limit=100))
        sends = [send for record in records for send in await sends_of(store, record.sid)]
        assert counts.messages == {
            state: sum(record.state is state for record in records) for state in State
        }
        assert counts.sends == {
            state: sum(send.state is state for send in sends) for state in SendState
        }
        assert counts.messages[State.RUNNING] == 1
        assert counts.sends[SendState.SENDING] == 1
        assert counts.received == 14


# Finding


async def test_messages_are_found_in_every_state(url: str) -> None:
    async with opened(url) as store:
        triggers = {
            State.DONE: Trigger.COMPLETE,
            State.DISCARDED: Trigger.DISCARD,
            State.DEAD: Trigger.GIVE_UP,
            State.PARKED: Trigger.PARK,
            State.WAITING: Trigger.RETRY,
        }
        for state, trigger in triggers.items():
            await store.accept(inbound(state.value, state.value))
            await settle_next(store, Settlement(trigger, delay=60))
        await store.accept(inbound("running", "running"))
        await claim_one(store)
        await store.accept(inbound("open", "open"))
        for state in State:
            assert [record.sid for record in await store.find(Filter(state=state))] == [state]


async def test_messages_are_found_from_a_moment_on_spooled_ones_by_their_receipt(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1")._replace(age=5.0))
        await store.accept(inbound("SM2"))
        await store.accept(inbound("SM3")._replace(age=60.0, spooled=True))
        since = (await record_of(store, "SM2")).received
        assert [record.sid for record in await store.find(Filter(since=since))] == ["SM2"]
        assert [r.sid for r in await store.find(Filter(until=since))] == ["SM3", "SM1"]
        assert not await store.find(Filter(since=since + 60))


# Pruning


async def test_what_is_settled_goes_when_its_time_is_over_and_its_key_stays(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1", "1"))
        await settle_next(store, Settlement(Trigger.COMPLETE, drafts=(draft(),)))
        await send_next(store)
        await store.accept(inbound("SM2", "2"))
        await settle_next(store, Settlement(Trigger.DISCARD))
        assert await store.prune(NOTHING, 100) == 0
        assert await store.prune(SETTLED, 100) == 2
        assert await listed(store) == []
        assert not await store.accept(inbound("SM1", "1"))
        assert await store.prune(replace(SETTLED, keys=OVER), 100) == 2
        assert await store.accept(inbound("SM1", "1"))


async def test_the_dead_are_kept_for_a_time_of_their_own(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        await settle_next(store, Settlement(Trigger.GIVE_UP))
        assert await store.prune(SETTLED, 100) == 0
        assert await store.prune(ALL, 100) == 1


async def test_the_parked_are_kept_for_a_time_of_their_own_and_go_with_all_of_them(
    url: str,
) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1"))
        assert (await store.counts()).parked is None
        parked = await settle_next(store, Settlement(Trigger.PARK, drafts=(draft(),)))
        assert 0 <= (await store.counts()).parked < 10  # type: ignore[operator]
        assert await store.prune(replace(ALL, parked=3600), 100) == 0
        assert await store.prune(ALL, 100) == 0  # its notice is still to be sent
        await send_next(store)
        assert await store.replay(parked)
        assert (await store.counts()).parked is None
        assert await store.prune(ALL, 100) == 0
        await settle_next(store, Settlement(Trigger.PARK))
        assert await store.prune(ALL, 100) == 1
        assert await store.show(parked) is None
        assert not await store.accept(inbound("SM1"))


async def test_nothing_is_pruned_that_is_live_or_has_something_to_send(url: str) -> None:
    async with opened(url) as store:
        for n in range(4):
            await store.accept(inbound(f"SM{n}", f"{n}"))
        await settle_next(store, Settlement(Trigger.RETRY, delay=60))
        await settle_next(store, Settlement(Trigger.COMPLETE, drafts=(draft(),)))
        await claim_one(store)
        assert await store.prune(ALL, 100) == 0
        (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        assert await store.prune(ALL, 100) == 0
        await store.settle_send(sending, SendOutcome(SendTrigger.LOSE))
        assert await store.prune(ALL, 100) == 1
        assert len(await listed(store)) == 3


async def test_pruning_takes_no_more_than_it_is_told_to(url: str) -> None:
    async with opened(url) as store:
        for n in range(7):
            await store.accept(inbound(f"SM{n}"))
            await settle_next(store)
        assert [await store.prune(ALL, 3) for _ in range(4)] == [3, 3, 1, 0]


async def test_writers_go_on_while_a_thousand_messages_are_pruned(url: str) -> None:
    """Invariant: what is accepted meanwhile is all there, and no pruning takes one of it."""

    async with opened(url) as store:
        await asyncio.gather(*(store.accept(inbound(f"old{n}", f"{n}")) for n in range(1000)))
        while claims := await claim(store):
            await asyncio.gather(*(store.settle(one, DONE) for one in claims))
        pruning = asyncio.Event()
        accepted: list[str] = []
        batches = 0
        behind: list[int] = []

        async def write() -> None:
            while not pruning.is_set():
                sid = f"new{len(accepted)}"
                before = batches
                await store.accept(inbound(sid, sid))
                behind.append(batches - before)
                accepted.append(sid)

        async def prune() -> None:
            nonlocal batches
            while await store.prune(SETTLED, 50):
                batches += 1
            pruning.set()

        await asyncio.gather(write(), prune())
        assert sorted(await listed(store)) == sorted(accepted)
        assert len(accepted) >= 10
        assert batches == 20
        assert statistics.median(behind) <= 5, "no writer waited for the rest"


# Reducing


async def test_a_reduced_message_has_lost_its_texts_and_kept_its_names(url: str) -> None:
    async with opened(url) as store:
        await store.accept(message("SM1", ANN))
        await settle_next(store, Settlement(Trigger.RETRY, "ValueError: my secret"))
        await settle_next(store, Settlement(Trigger.COMPLETE, drafts=(draft(body="my secret"),)))
        await send_next(store)
        assert await store.reduce(100) == 1
        history = await store.show((await record_of(store, "SM1")).id)
        assert history is not None
        assert (
            history.record.form
            == urlencode({"MessageSid": "SM1", "From": ANN, "NumMedia": "0"}).encode()
        )
        assert history.record.reduced
        assert "secret" not in str(history)
        assert [attempt.trigger for attempt in history.attempts] == [Trigger.RETRY]
        assert [(send.state, send.sid) for send in history.sends] == [(SendState.SENT, "SM1")]
        assert await store.reduce(100) == 0
        assert not await store.replay(history.record.id)
        assert not await store.accept(message("SM1", ANN))
        assert await store.prune(SETTLED, 100) == 1


async def test_what_may_still_be_needed_keeps_its_texts(url: str) -> None:
    async with opened(url) as store:
        for n in range(4):
            await store.accept(message(f"SM{n}", ANN))
        await settle_next(store, Settlement(Trigger.GIVE_UP))
        await settle_next(store, Settlement(Trigger.PARK))
        await settle_next(store, Settlement(Trigger.COMPLETE, drafts=(draft(),)))
        assert await store.reduce(100) == 0
        await send_next(store, SendTrigger.POSTPONE)
        assert await store.reduce(100) == 0
        await send_next(store, SendTrigger.REFUSE)
        assert await store.reduce(100) == 1
        reduced = [record.sid for record in await store.find(Filter()) if record.reduced]
        assert reduced == ["SM2"]


# Erasing


async def erase_all(store: Store, address: str) -> int:
    erased = 0
    while (step := await store.erase(address, 2)).erased:
        erased += step.erased
    return erased


async def test_a_person_is_erased_in_all_channels_and_states(url: str) -> None:
    async with opened(url) as store:
        whatsapp = f"whatsapp:{ANN}"
        to_ann = replace(draft(), to=whatsapp)
        for sid, sender, settlement in (
            ("SM1", ANN, Settlement(Trigger.GIVE_UP, "Traceback")),
            ("SM2", whatsapp, Settlement(Trigger.COMPLETE, drafts=(to_ann,))),
            ("SM3", BOB, Settlement(Trigger.COMPLETE, drafts=(to_ann,))),
        ):
            await store.accept(message(sid, sender))
            await settle_next(store, settlement)
        await store.accept(message("SM4", ANN))
        await store.accept(message("SM5", f"RCS:{ANN}"))  # as an earlier version has written it
        status = inbound("SM9", "x", kind=Kind.STATUS)._replace(recipient=ANN)
        await store.accept(status)

        assert await erase_all(store, "+1 (555) 123-0001") == 7
        assert await listed(store) == ["SM3"]
        assert await sends_of(store, "SM3") == ()
        assert not (await store.claim_sends(10, lease=30.0, owner="w1")).claims
        assert await claim(store) == ()
        assert not await store.accept(message("SM1", ANN))
        assert (await store.counts()).messages[State.DONE] == 1


async def test_what_is_at_work_is_erased_when_it_has_ended(url: str) -> None:
    async with opened(url) as store:
        await store.accept(message("SM1", ANN))
        running = await claim_one(store)
        assert (await store.erase(ANN, 10)).busy == 1
        await store.settle(
            running, Settlement(Trigger.COMPLETE, drafts=(replace(draft(), to=ANN),))
        )
        (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        step = await store.erase(ANN, 10)
        assert (step.erased, step.busy) == (0, 2)
        await store.settle_send(sending, SendOutcome(SendTrigger.ACCEPT, sid="SM2"))
        assert (await store.erase(ANN, 10)).erased == 2
        assert (await store.erase(ANN, 10)).busy == 0


async def test_a_run_that_is_repeated_finds_what_it_has_sent_though_its_person_was_erased(
    url: str,
) -> None:
    async with opened(url) as store:
        await store.accept(message("SM1", ANN))
        running = await claim_one(store, lease=0.0)
        await store.write(running, [draft()])
        await send_next(store)
        step = await store.erase(ANN, 10)
        assert (step.erased, step.busy) == (0, 2)
        again = await claim_one(store)  # it has crashed
        (reply,) = await store.write(again, [draft()])
        assert (reply.repeated, reply.state) == (True, SendState.SENT)
        await store.settle(again, DONE)
        assert await erase_all(store, ANN) == 2


async def test_a_message_that_will_run_again_keeps_its_sends_while_one_is_under_way(
    url: str,
) -> None:
    async with opened(url) as store:
        await store.accept(message("SM1", ANN))
        drafts = (draft("reply:0"), draft("reply:1"))
        await settle_next(store, Settlement(Trigger.RETRY, drafts=drafts))
        await send_next(store)
        (sending,) = (await store.claim_sends(1, lease=30.0, owner="w1")).claims
        step = await store.erase(ANN, 10)
        assert (step.erased, step.busy) == (0, 3)
        again = await claim_one(store)
        assert [send.repeated for send in await store.write(again, drafts)] == [True, True]
        await store.settle_send(sending, SendOutcome(SendTrigger.ACCEPT, sid="SM2"))
        await store.settle(again, DONE)
        assert await erase_all(store, ANN) == 3


async def test_what_somebody_elses_message_has_sent_stays_until_it_has_settled(url: str) -> None:
    async with opened(url) as store:
        await store.accept(message("SM1", BOB))
        await settle_next(store, Settlement(Trigger.RETRY, drafts=(draft(),)))
        await send_next(store)
        step = await store.erase(ANN, 10)
        assert (step.erased, step.busy) == (0, 1)
        await settle_next(store)
        assert await erase_all(store, ANN) == 1
        assert await listed(store) == ["SM1"]


async def test_a_waiting_message_goes_with_all_its_sends_or_keeps_them(url: str) -> None:
    async with opened(url) as store:
        for n in range(3):
            await store.accept(message(f"SM{n}", ANN))
        for one in await claim(store):
            drafts = () if one.sid == "SM0" else (draft(),)
            await store.settle(one, Settlement(Trigger.RETRY, delay=60, drafts=drafts))
        while (await store.erase(ANN, 1)).erased:  # it comes upon sends of messages that stay yet
            for sid in {"SM1", "SM2"} & set(await listed(store)):
                assert len(await sends_of(store, sid)) == 1
        assert await listed(store) == []


async def test_a_suspect_that_can_not_be_erased_yet_is_still_a_suspect(url: str) -> None:
    async with opened(url) as store:
        await store.accept(message("SM1", ANN))
        await store.write(await claim_one(store, lease=-1), [draft()])
        await store.claim_sends(1, lease=30.0, owner="w1")
        await claim_one(store, lease=-1)
        assert (await store.claim(9, lease=30, owner="w1", alone=False)).suspects
        assert (await store.erase(ANN, 10)).erased == 0
        claimed = await store.claim(9, lease=30, owner="w1", alone=True)
        assert [one.sid for one in claimed.claims] == ["SM1"]


async def test_what_stood_behind_an_erased_message_goes_on(url: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound("SM1")._replace(sender=ANN))
        await store.accept(inbound("SM2")._replace(sender=BOB))
        await settle_next(store, Settlement(Trigger.RETRY, delay=600))
        assert await erase_all(store, ANN) == 1
        assert (await claim_one(store)).sid == "SM2"


# Searching


async def test_a_phrase_is_found_newest_first_and_the_search_goes_on_where_it_ended(
    url: str,
) -> None:
    async with opened(url) as store:
        for n in range(6):
            body = "A table, please" if n % 2 else "Are you open?"
            await store.accept(message(f"SM{n}", ANN, body=body))
        await store.accept(inbound("SM6")._replace(form=b"\0\xff&Body=%00table\\"))

        async def search(text: str, within: int = 100, **wanted: Any) -> tuple[list[str], Any]:
            found = await store.search(Filter(**wanted), Phrase.of(text), within=within)
            return [record.sid for record in found.records], found.before

        assert await search("TABLE") == (["SM6", "SM5", "SM3", "SM1"], None)
        assert await search("open?") == (["SM4", "SM2", "SM0"], None)
        assert await search("%") == ([], None)
        assert await search("table", sender=ANN, kind=Kind.MESSAGE) == (["SM5", "SM3", "SM1"], None)
        assert await search("table", state=State.DEAD) == ([], None)

        first, before = await search("table", limit=2)
        assert first == ["SM6", "SM5"]
        assert await search("table", limit=2, before_id=before) == (
            ["SM3", "SM1"],
            (await record_of(store, "SM1")).id,
        )
        nothing, before = await search("are you", within=1)
        assert nothing == []
        assert before == (await record_of(store, "SM6")).id
        assert (await search("are you", within=2, before_id=before))[0] == ["SM4"]


async def test_many_that_might_fit_are_looked_through_to_the_end(url: str) -> None:
    async with opened(url) as store:
        bodies = ["caf\N{LATIN SMALL LETTER E WITH ACUTE}", *["cafe"] * 450]
        inbounds = [message(f"SM{n:03}", ANN, body=body) for n, body in enumerate(bodies)]
        await asyncio.gather(*map(store.accept, inbounds))
        found = await store.search(
            Filter(), Phrase.of("CAF\N{LATIN CAPITAL LETTER E WITH ACUTE}"), within=1000
        )
        assert [record.sid for record in found.records] == ["SM000"]
        assert found.before is None


async def test_a_persons_messages_are_found_in_every_state(url: str) -> None:
    async with opened(url) as store:
        for n, sender in enumerate([ANN, BOB, ANN]):
            await store.accept(message(f"SM{n}", sender))
        await settle_next(store, Settlement(Trigger.GIVE_UP, "ValueError"))
        of_ann = Filter(kind=Kind.MESSAGE, sender=ANN)
        assert [record.sid for record in await store.find(of_ann)] == ["SM2", "SM0"]
        dead = replace(of_ann, state=State.DEAD)
        assert [record.sid for record in await store.find(dead)] == ["SM0"]
        assert await store.find(replace(of_ann, sid="SM1")) == []
        assert await store.find(replace(of_ann, kind=Kind.STATUS)) == []


async def test_a_check_writes_and_changes_nothing(url: str) -> None:
    async with opened(url) as store:
        await store.accept(message("SM1", ANN))
        before = await store.counts()
        for _ in range(3):
            await store.check()
        after = await store.counts()
        assert (after.messages, after.sends) == (before.messages, before.sends)


async def test_a_database_that_takes_no_writes_is_told_by_a_check(postgres_url: str) -> None:
    """As of a standby, to which an address leads after a failover."""

    async with opened(postgres_url) as store:
        await store.check()
        server = await asyncpg.connect(postgres_url)
        name = await server.fetchval("SELECT current_database()")
        await server.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        await server.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE datname = current_database() AND pid <> pg_backend_pid()"
        )
        for _ in range(3):  # the first may only find that its connection is gone
            with pytest.raises(StoreUnavailable):
                await store.check()
            await asyncio.sleep(0.1)
        await server.execute("SET default_transaction_read_only = off")
        await server.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
        await server.close()
