"""What every store promises of a person who writes from a number and from a user id.

The invariant: from the message on that names both, they are one lane. What waited under either is
handled in the order of receipt, and while one of a person's messages runs, no other is claimed,
whichever address it came from and whoever crashes.
"""

import asyncio
import random
from dataclasses import replace
from typing import Any

import pytest

from offhook.core.inbound import Inbound, Webhook
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, SendTrigger, State, Trigger
from offhook.core.messages import Template
from offhook.stores.api import (
    Claim,
    Draft,
    Filter,
    Retention,
    SendFilter,
    SendOutcome,
    SendRequest,
    Settlement,
    Store,
)
from testing.stores import DONE, claim, opened, webhook
from tests.conformance.clocks import clock_of

OURS = "whatsapp:+15005550006"
DAY = 86_400


def number(person: int = 1) -> str:
    return f"whatsapp:+1555123000{person}"


def user_id(person: int = 1) -> str:
    return f"whatsapp:US.1349120865530274191{person}"


def wrote(sid: str, *, n: str = "", u: str = "", ours: str = OURS) -> Inbound:
    """Return a message from a number, a user id, or both."""
    more: dict[str, Any] = {"From": n or u, "To": ours}
    if n and u:
        more["ExternalUserId"] = u
    return Inbound.of(webhook(sid, **more))


N, U = number(), user_id()
CANCELED = SendFilter(state=SendState.CANCELED)


async def accept(store: Store, *messages: Inbound) -> None:
    for one in messages:
        assert await store.accept(one)


async def handled(store: Store) -> list[str]:
    """Handle all there is to be handled; return the SIDs, which come one at a time."""
    done: list[str] = []
    while claims := await claim(store):
        (one,) = claims
        assert await claim(store) == ()
        done.append(one.sid)
        await store.settle(one, DONE)
    return done


def reply(body: str, to: str) -> Draft:
    return Draft("return:0", "AC1", OURS, to, body)


def to(address: str, body: str, **more: Any) -> SendRequest:
    draft = Draft("send:0", "AC1", OURS, address, body)
    return replace(SendRequest(f"AC1|{OURS}|{address}", (draft,)), **more)


async def left(store: Store) -> list[str]:
    """Send all that is due; return the texts in the order in which they left, one at a time."""
    texts: list[str] = []
    while claims := (await store.claim_sends(100, lease=30.0, owner="w1")).claims:
        (one,) = claims
        texts.append(one.draft.body)
        await store.settle_send(one, SendOutcome(SendTrigger.ACCEPT, sid=f"SM{one.id}"))
    return texts


async def test_number_user_id_and_number_again_are_one_lane(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U), wrote("SM2", u=U), wrote("SM3", n=N))
        assert await handled(store) == ["SM1", "SM2", "SM3"]
        await accept(store, wrote("SM4", u=U), wrote("SM5", n=N), wrote("SM6", u=U))
        assert await handled(store) == ["SM4", "SM5", "SM6"]


async def test_in_one_batch_the_earlier_ones_belong_to_it_too(url: str) -> None:
    async with opened(url) as store:
        batch = [wrote("SM1", u=U), wrote("SM2", n=N, u=U), wrote("SM3", u=U), wrote("SM4", n=N)]
        assert await store.accept_all(batch) == [True] * 4
        assert await store.accept_all(batch) == [False] * 4
        assert await handled(store) == ["SM1", "SM2", "SM3", "SM4"]


async def test_other_people_and_other_numbers_of_ours_are_other_lanes(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U), wrote("SM2", n=number(2), u=user_id(2)))
        other = Inbound.of(webhook("SM3", From=U, To="whatsapp:+15005550007"))
        await accept(store, other)
        assert {one.sid for one in await claim(store)} == {"SM1", "SM2", "SM3"}


async def test_what_waits_under_both_is_handled_in_the_order_of_receipt(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U), wrote("SM2", n=N), wrote("SM3", u=U))
        await accept(store, wrote("SM4", n=N), wrote("SM5", n=N, u=U), wrote("SM6", u=U))
        assert await handled(store) == [f"SM{n}" for n in range(1, 7)]


@pytest.mark.parametrize("ending", [Trigger.COMPLETE, Trigger.RETRY, Trigger.INTERRUPT])
async def test_what_runs_under_the_user_id_is_waited_for(url: str, ending: Trigger) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        (running,) = await claim(store)
        await accept(store, wrote("SM2", n=N), wrote("SM3", u=U), wrote("SM4", n=N, u=U))
        assert await claim(store) == ()
        assert await store.renew([running.token], lease=30.0) == frozenset()
        await store.write(running, [Draft("reply:0", "AC1", OURS, U, "early")])
        await store.settle(running, Settlement(ending, drafts=(reply("late", U),)))
        again = [] if ending is Trigger.COMPLETE else ["SM1"]
        assert await handled(store) == [*again, "SM2", "SM3", "SM4"]
        assert await left(store) == ["early", "late"]


@pytest.mark.parametrize("first", [0, 1])
async def test_what_runs_under_both_is_waited_for(url: str, first: int) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U), wrote("SM2", n=N))
        running = list(await claim(store))
        assert len(running) == 2
        await accept(store, wrote("SM3", u=U), wrote("SM4", n=N, u=U))
        await store.settle(running.pop(first), DONE)
        assert await claim(store) == ()
        await accept(store, wrote("SM5", u=U))
        assert await claim(store) == ()
        await store.settle(running.pop(), DONE)
        assert await handled(store) == ["SM3", "SM4", "SM5"]


@pytest.mark.parametrize("dead", ["user id", "number", "both"])
async def test_what_has_crashed_runs_first_once_more(url: str, dead: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        (at_user_id,) = await claim(store, owner="user id" if dead != "both" else "both")
        await accept(store, wrote("SM2", n=N))
        (at_number,) = await claim(store, owner="number" if dead != "both" else "both")
        await accept(store, wrote("SM3", u=U), wrote("SM4", n=N, u=U))
        await store.release(dead)
        alive = {"user id": [at_number], "number": [at_user_id], "both": []}[dead]
        for one in alive:
            assert await claim(store) == ()
            await store.settle(one, DONE)
        crashed = [sid for sid in ("SM1", "SM2") if sid not in {one.sid for one in alive}]
        assert await handled(store) == [*crashed, "SM3", "SM4"]


async def test_a_run_whose_lease_is_over_cannot_settle_in_either_lane(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        (lost,) = await claim(store, lease=30.0)
        await accept(store, wrote("SM2", n=N, u=U))
        async with clock_of(url) as clock:
            await clock.advance(31)
        (again,) = await claim(store)
        assert (again.sid, again.crashes) == ("SM1", 1)
        with pytest.raises(Exception, match="has passed to another run"):
            await store.settle(lost, DONE)
        await store.settle(again, DONE)
        assert await handled(store) == ["SM2"]


async def test_replies_leave_in_the_order_written_whichever_address_they_go_to(url: str) -> None:
    async with opened(url) as store:
        for sid, n, u in ("SM1", "", U), ("SM2", N, ""), ("SM3", "", U):
            await accept(store, wrote(sid, n=n, u=u))
            (one,) = await claim(store)
            await store.settle(one, Settlement(Trigger.COMPLETE, drafts=(reply(sid, n or u),)))
        await accept(store, wrote("SM4", n=N, u=U))
        assert await left(store) == ["SM1", "SM2", "SM3"]


async def test_a_reply_being_sent_is_waited_for(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        (one,) = await claim(store)
        await store.settle(one, Settlement(Trigger.COMPLETE, drafts=(reply("first", U),)))
        (sending,) = (await store.claim_sends(10, lease=30.0, owner="w1")).claims
        await accept(store, wrote("SM2", n=N, u=U))
        (one,) = await claim(store)
        await store.settle(one, Settlement(Trigger.COMPLETE, drafts=(reply("second", N),)))
        assert await left(store) == []
        await store.settle_send(sending, SendOutcome(SendTrigger.POSTPONE, delay=0.0))
        assert await left(store) == ["first", "second"]


async def test_sends_to_either_address_are_in_the_lane_and_stop_with_it(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U))
        await store.request(to(U, "one"))
        await store.request(to(N, "two"))
        await store.request(to(U, "three"))
        assert await left(store) == ["one", "two", "three"]
        await store.request(to(U, "later", delay=60.0))
        await store.request(to(N, "soon"))
        (one,) = await claim(store)
        await store.settle(one, Settlement(Trigger.COMPLETE, cancel_lane=True))
        assert await left(store) == []
        canceled = await store.find_sends(CANCELED)
        assert {one.body for one in canceled} == {"later", "soon"}


@pytest.mark.parametrize("writer", [{"n": N}, {"u": U}, {"n": N, "u": U}])
@pytest.mark.parametrize("recipient", [N, U])
async def test_what_waits_for_a_reply_is_cancelled_by_either(
    url: str, writer: dict[str, str], recipient: str
) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U))
        await store.request(to(recipient, "reminder", delay=60.0, unless_reply=True))
        await accept(store, wrote("SM2", n=number(2), u=user_id(2)))
        assert await store.find_sends(CANCELED) == []
        await accept(store, wrote("SM3", **writer))
        assert [one.body for one in await store.find_sends(CANCELED)] == ["reminder"]


async def test_what_was_to_wait_for_a_reply_of_the_user_id_is_cancelled_by_both(url: str) -> None:
    async with opened(url) as store:
        await store.request(to(U, "reminder", delay=60.0, unless_reply=True))
        await accept(store, wrote("SM1", n=N, u=U))
        assert [one.body for one in await store.find_sends(CANCELED)] == ["reminder"]


@pytest.mark.parametrize("address", [N, U, N.removeprefix("whatsapp:")])
async def test_a_person_is_erased_by_either_address(url: str, address: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U), wrote("SM2", n=N, u=U), wrote("SM3", n=number(2)))
        await store.request(to(U, "later", delay=60.0))
        await store.request(to(N, "now"))
        assert {N, U} <= set(await store.addresses_of(address))
        assert number(2) not in await store.addresses_of(address)
        while (await store.erase(address, 100)).erased:
            pass
        assert [one.sid for one in await store.find(Filter())] == ["SM3"]
        assert await store.find_sends(SendFilter()) == []
        assert not {N, U} <= set(await store.addresses_of(address))
        await accept(store, wrote("SM4", u=U), wrote("SM5", n=N))
        assert {one.sid for one in await claim(store)} == {"SM3", "SM4", "SM5"}


async def test_a_replay_is_in_the_lane_that_the_person_has_by_now(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        assert await handled(store) == ["SM1"]
        await accept(store, wrote("SM2", n=N, u=U))
        assert await store.replay(1)
        assert await handled(store) == ["SM2", "SM1"]


async def test_a_person_with_another_number_takes_along_what_waits(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U), wrote("SM2", u=U))
        await accept(store, wrote("SM3", n=number(2), u=U), wrote("SM4", u=U))
        await accept(store, wrote("SM5", n=number(2)))
        assert await handled(store) == ["SM1", "SM2", "SM3", "SM4", "SM5"]
        assert {N, U, number(2)} <= set(await store.addresses_of(U))


async def test_one_batch_may_have_a_person_with_two_numbers(url: str) -> None:
    async with opened(url) as store:
        batch = [wrote("SM1", n=N, u=U), wrote("SM2", u=U), wrote("SM3", n=number(2), u=U)]
        batch += [wrote("SM4", u=U), wrote("SM5", n=N, u=U), wrote("SM6", n=number(2), u=U)]
        assert await store.accept_all(batch) == [True] * 6
        assert await handled(store) == [f"SM{n}" for n in range(1, 7)]
        assert {N, U, number(2)} <= set(await store.addresses_of(U))


async def test_a_number_that_somebody_else_has_by_now_is_theirs(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U), wrote("SM2", n=number(2), u=U))
        assert await handled(store) == ["SM1", "SM2"]
        await accept(store, wrote("SM3", n=N, u=user_id(3)), wrote("SM4", u=U))
        assert {one.sid for one in await claim(store)} == {"SM3", "SM4"}
        assert N not in await store.addresses_of(U)
        assert number(2) not in await store.addresses_of(user_id(3))


async def test_a_number_may_pass_to_somebody_else_in_one_batch(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U), wrote("SM2", n=number(3), u=user_id(3)))
        for one in await claim(store):
            await store.settle(one, DONE)
        batch = [wrote("SM3", n=number(2), u=U), wrote("SM4", n=N, u=user_id(3))]
        assert await store.accept_all(batch) == [True] * 2
        await accept(store, wrote("SM5", u=U))
        assert {one.sid for one in await claim(store)} == {"SM3", "SM4"}
        assert N not in await store.addresses_of(U)


async def test_a_number_may_get_another_user_id(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U), wrote("SM2", n=N, u=user_id(2)))
        await accept(store, wrote("SM3", u=user_id(2)), wrote("SM4", u=U), wrote("SM5", n=N))
        assert await handled(store) == ["SM1", "SM2", "SM3", "SM4", "SM5"]


async def test_an_alias_is_kept_while_it_is_used(url: str) -> None:
    keeping = Retention(settled=DAY, dead=DAY, parked=DAY, keys=10 * DAY)
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U))
        assert await handled(store) == ["SM1"]
        async with clock_of(url) as clock:
            await clock.advance(8 * DAY)
            await accept(store, wrote("SM2", u=U))
            await clock.advance(8 * DAY)
            await store.prune(keeping, 100)
            assert U in await store.addresses_of(N)
            await clock.advance(3 * DAY)
            await store.prune(keeping, 100)
        assert U not in await store.addresses_of(N)


async def test_what_an_earlier_version_left_under_the_user_id_is_found(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U))
        await accept(store, wrote("SM2", u=U)._replace(alias=""))  # beside it, in a rolling deploy
        await accept(store, wrote("SM3", u=U))
        assert await handled(store) == ["SM1", "SM2", "SM3"]


async def test_two_at_once_lose_nothing_and_wait_for_nobody(url: str) -> None:
    people = range(1, 6)
    async with opened(url) as here, opened(url) as there:
        messages = [
            wrote(f"SM{person}{n}", n="" if n % 3 == 1 else number(person),
                  u="" if n % 3 == 2 else user_id(person))
            for n in range(9) for person in people
        ]  # fmt: skip
        stores = [here, there]
        new = await asyncio.gather(
            *(stores[n % 2].accept(one) for n, one in enumerate(messages)),
            *(
                stores[n % 2].request(to(user_id(p), f"send {p} {n}"))
                for n in range(9)
                for p in people
            ),
        )
        assert all(new)
        done: list[Claim] = []
        while claims := [*await claim(here), *await claim(there)]:
            assert len({one.lane for one in claims}) == len(claims) <= len(people)
            for one in claims:
                await here.settle(one, DONE)
            done += claims
        assert sorted(one.sid for one in done) == sorted(one.sid for one in messages)
        assert len({one.lane for one in done}) == len(people)


@pytest.mark.parametrize("recipient", [N, U])
async def test_the_window_is_open_whichever_address_the_person_wrote_from(
    url: str, recipient: str
) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", n=N, u=U)._replace(age=1.5 * DAY), wrote("SM2", u=U))
        given = to(recipient, "text")
        template = Template("HX" + "a" * 32, {})
        drafts = (replace(given.drafts[0], fallback=template, fallback_identity="fallback:0"),)
        await store.request(replace(given, drafts=drafts))
        (one,) = (await store.claim_sends(9, lease=30.0, owner="w1")).claims
        assert (one.draft.body, one.draft.content_sid) == ("text", "")


def remembering(state: str) -> Settlement:
    return Settlement(Trigger.COMPLETE, state=state.encode())


def state_of(one: Claim) -> str:
    return "" if one.state is None else one.state.value.decode()


async def test_the_state_of_a_conversation_comes_along(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        (one,) = await claim(store)
        await store.settle(one, remembering("1"))
        await accept(store, wrote("SM2", n=N, u=U))
        (one,) = await claim(store)
        assert state_of(one) == "1"
        await store.settle(one, remembering("2"))
        await accept(store, wrote("SM3", u=U))
        (one,) = await claim(store)
        assert state_of(one) == "2"


@pytest.mark.parametrize("last", ["user id", "number"])
async def test_of_two_states_the_one_that_was_used_last_stays(url: str, last: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        (at_user_id,) = await claim(store)
        await accept(store, wrote("SM2", n=N))
        (at_number,) = await claim(store)
        await accept(store, wrote("SM3", n=N, u=U))
        ends = [(at_number, "number"), (at_user_id, "user id")]
        for one, state in ends if last == "user id" else reversed(ends):
            await store.settle(one, remembering(state))
            await asyncio.sleep(0.01)  # the store tells moments apart by milliseconds
        (one,) = await claim(store)
        assert state_of(one) == last


async def test_a_run_saves_its_state_although_another_one_comes_along(url: str) -> None:
    async with opened(url) as store:
        await accept(store, wrote("SM1", u=U))
        (one,) = await claim(store)
        await store.settle(one, remembering("user id"))
        await accept(store, wrote("SM2", n=N))
        (running,) = await claim(store)
        await accept(store, wrote("SM3", n=N, u=U))
        await asyncio.sleep(0.01)
        await store.settle(running, remembering("number"))
        (one,) = await claim(store)
        assert state_of(one) == "number"


class People:
    """What a store is compared with: who has written what, what runs, and what may run next."""

    def __init__(self, store: Store, dice: random.Random, first: int) -> None:
        self.store, self.dice, self.first = store, dice, first
        self.waiting: dict[int, list[tuple[str, str]]] = {1: [], 2: []}  # SID and address
        self.running: dict[int, list[Claim]] = {1: [], 2: []}
        self.owners: dict[int, str] = {}  # by token
        self.crashed: set[str] = set()
        self.one: set[int] = set()
        self.written: list[str] = []  # of people who are one
        self.left: list[str] = []
        self.settled: list[str] = []
        self.sids = first

    async def write(self) -> None:
        person = self.dice.choice((1, 2))
        n, u = self.dice.choice(
            ((number(person), ""), ("", user_id(person)), (number(person), user_id(person)))
        )
        self.sids += 1
        sid = f"SM{self.sids}"
        await accept(self.store, wrote(sid, n=n, u=u))
        self.waiting[person].append((sid, n or u))
        if n and u:
            self.one.add(person)

    async def claim(self) -> None:
        owner = self.dice.choice(("w1", "w2"))
        claims = await claim(self.store, owner=owner, alone=True)
        for one in claims:
            person = next(p for p, waiting in self.waiting.items() if one.sid in dict(waiting))
            address = dict(self.waiting[person])[one.sid]
            if person in self.one:
                assert not self.running[person], "one message of a person at a time"
                assert self.waiting[person][0][0] == one.sid, "in the order of receipt"
            else:
                mine = [sid for sid, at in self.waiting[person] if at == address]
                assert mine[0] == one.sid
            self.waiting[person].remove((one.sid, address))
            self.running[person].append(one)
            self.owners[one.token] = owner
        if not any(self.running.values()):
            assert not any(self.waiting.values()), "what waits is claimed when nothing runs"

    async def settle(self) -> None:
        person = self.dice.choice((1, 2))
        if not self.running[person]:
            return
        one = self.running[person].pop(self.dice.randrange(len(self.running[person])))
        trigger = self.dice.choice((Trigger.COMPLETE, Trigger.COMPLETE, Trigger.RETRY))
        drafts = (reply(one.sid, self.address_of(one)),) if trigger is Trigger.COMPLETE else ()
        await self.store.settle(one, Settlement(trigger, drafts=drafts))
        if trigger is Trigger.COMPLETE:
            self.settled.append(one.sid)
            if person in self.one:
                self.written.append(f"{person}:{one.sid}")
        else:
            self.back(person, one)

    def address_of(self, one: Claim) -> str:
        return Inbound.of(Webhook(Kind.MESSAGE, one.form)).sender

    def back(self, person: int, one: Claim) -> None:
        self.waiting[person].append((one.sid, self.address_of(one)))
        self.waiting[person].sort(key=lambda waiting: int(waiting[0][2:]))

    async def crash(self) -> None:
        owner = self.dice.choice(("w1", "w2"))
        dying = [
            (person, one)
            for person, running in self.running.items()
            for one in running
            if self.owners[one.token] == owner
        ]
        if any(one.sid in self.crashed for _, one in dying):
            return
        await self.store.release(owner)
        for person, one in dying:
            self.running[person].remove(one)
            self.crashed.add(one.sid)
            self.back(person, one)

    async def send(self) -> None:
        claims = (await self.store.claim_sends(100, lease=30.0, owner="w1")).claims
        for one in claims:
            await self.store.settle_send(one, SendOutcome(SendTrigger.ACCEPT, sid=f"SM{one.id}"))
            person = 1 if one.draft.to in {number(1), user_id(1)} else 2
            self.left.append(f"{person}:{one.draft.body}")

    async def finish(self) -> None:
        for _ in range(1000):
            await self.claim()
            await self.settle()
            if not any([*self.running.values(), *self.waiting.values()]):
                break
        while True:
            before = len(self.left)
            await self.send()
            if len(self.left) == before:
                break
        assert sorted(self.settled) == sorted(
            f"SM{n}" for n in range(self.first + 1, self.sids + 1)
        )
        assert sorted(one.partition(":")[2] for one in self.left) == sorted(self.settled)
        for person in "12":
            order = [one for one in self.written if one[0] == person]
            assert [one for one in self.left if one in order] == order
        assert {one.state for one in await self.store.find(Filter(limit=1000))} <= {State.DONE}


@pytest.mark.parametrize("seed", range(3))
async def test_whatever_happens_people_are_handled_in_order(url: str, seed: int) -> None:
    dice = random.Random(seed)
    async with opened(url) as store:
        for first in range(0, 2000, 1000):
            people = People(store, dice, first)
            doings = (people.write, people.claim, people.settle, people.crash, people.send)
            for _ in range(60):
                await dice.choices(doings, (5, 4, 4, 1, 2))[0]()
            await people.finish()
            for address in (N, number(2)):
                while (await store.erase(address, 100)).erased:
                    pass
