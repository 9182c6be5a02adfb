"""The states of conversations: saved with the end of a run, or not at all."""

from dataclasses import replace

import pytest

from offhook.core.lifecycle import Trigger
from offhook.errors import LeaseLost
from offhook.stores.api import Claim, Retention, SavedState, Settlement, Store
from testing.stores import DONE, claim, claim_one, draft, inbound, opened

ALL_KEPT = Retention(settled=3600, dead=3600, parked=3600, keys=3600, states=3600)


def saving(value: bytes) -> Settlement:
    return replace(DONE, state=value)


def value_of(one: Claim) -> bytes | None:
    return None if one.state is None else one.state.value


async def next_run(store: Store, sid: str, lane: str = "1") -> Claim:
    await store.accept(inbound(sid, lane))
    return await claim_one(store)


async def state_of(store: Store, lane: str = "1") -> bytes | None:
    """Return the state that the next message of a conversation finds; it changes nothing."""
    run = await next_run(store, f"SM-look-{lane}", lane)
    await store.settle(run, Settlement(Trigger.DISCARD))
    return value_of(run)


async def test_a_state_is_given_to_the_next_run_of_its_conversation_alone(url: str) -> None:
    async with opened(url) as store:
        first = await next_run(store, "SM1")
        assert first.state is None
        await store.settle(first, saving(b'{"a":1}'))
        other = await next_run(store, "SM2", "2")
        assert other.state is None
        await store.settle(other, DONE)
        second = await next_run(store, "SM3")
        assert second.state is not None
        assert (second.state.value, second.state.version) == (b'{"a":1}', first.token)
        assert 0 <= second.state.age < 60
        await store.settle(second, DONE)  # leaves it as it is
        third = await next_run(store, "SM4")
        await store.settle(third, saving(b'{"a":2}'))
        fourth = await next_run(store, "SM5")
        assert value_of(fourth) == b'{"a":2}'
        await store.settle(fourth, saving(b""))
        assert (await next_run(store, "SM6")).state is None


async def test_many_runs_save_their_states_in_one_batch(url: str) -> None:
    async with opened(url) as store:
        for n in range(20):
            await store.accept(inbound(f"SM{n}", str(n)))
        for round_ in range(2):
            runs = await claim(store)
            assert len(runs) == 20
            for run in runs:
                assert value_of(run) == (run.lane.encode() if round_ else None)
            for run in runs:
                await store.settle(run, replace(saving(run.lane.encode()), drafts=(draft(),)))
            for n in range(20):
                await store.accept(inbound(f"SM{round_}-{n}", str(n)))


async def test_a_rescued_message_finds_the_state_as_it_was_and_the_late_run_saves_nothing(
    url: str,
) -> None:
    async with opened(url) as store:
        await store.settle(await next_run(store, "SM1"), saving(b'"old"'))
        await store.accept(inbound("SM2", "1"))
        late = await claim_one(store, lease=-1.0)
        rescued = await claim_one(store)
        assert (value_of(late), value_of(rescued)) == (b'"old"', b'"old"')
        with pytest.raises(LeaseLost):
            await store.settle(late, saving(b'"late"'))
        await store.settle(rescued, saving(b'"new"'))
        with pytest.raises(LeaseLost):
            await store.settle(late, saving(b'"late"'))
        await store.settle(rescued, saving(b'"again"'))  # its answer was lost: a repeat
        assert await state_of(store) == b'"new"'


async def test_a_state_that_is_erased_during_a_run_is_not_brought_back(url: str) -> None:
    async with opened(url) as store:
        person = inbound("SM1", "1").sender
        await store.settle(await next_run(store, "SM1"), saving(b'"secret"'))
        run = await next_run(store, "SM2")
        erased = await store.erase(person, 100)
        assert (erased.erased, erased.busy) == (2, 1)  # the first message, and the state
        await store.settle(run, saving(b'"secret, longer"'))
        assert (await store.erase(person, 100)).erased == 1
        assert await state_of(store) is None


async def test_a_person_is_erased_with_a_state_that_has_outlived_its_messages(url: str) -> None:
    async with opened(url) as store:
        await store.settle(await next_run(store, "SM1", "1"), saving(b'"hers"'))
        await store.settle(await next_run(store, "SM2", "2"), saving(b'"his"'))
        assert await store.prune(replace(ALL_KEPT, settled=-1.0), 100) == 2
        erased = await store.erase(inbound("SM", "1").sender, 100)
        assert (erased.erased, erased.busy) == (1, 0)
        assert await state_of(store, "1") is None
        assert await state_of(store, "2") == b'"his"'


async def test_states_that_are_not_used_any_more_are_pruned(url: str) -> None:
    async with opened(url) as store:
        for n in range(4):
            await store.settle(await next_run(store, f"SM{n}", str(n)), saving(b'"x"'))
        await store.accept(inbound("SM-live", "0"))
        over = replace(ALL_KEPT, states=-1.0)
        assert await store.prune(ALL_KEPT, 100) == 0
        assert await store.prune(over, 2) == 2
        assert await store.prune(over, 2) == 1
        assert await store.prune(over, 2) == 0  # one that a message waits for stays
        run = await claim_one(store)
        assert isinstance(run.state, SavedState)
