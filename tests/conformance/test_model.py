"""Random histories of the protocol, on a model and on each store: they never differ.

Two processes work on the store, and every step goes to one of them. After each step everything is
compared that can be seen of the store: messages, their histories, sends, counts.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import dataclass, field, replace
from enum import Enum, auto
from typing import Any, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    rule,
    run_state_machine_as_test,
)

from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import LIVE, Delivery, SendState, SendTrigger, State, Trigger
from offhook.core.messages import Send
from offhook.core.unknown_sends import Finding, Verdict
from offhook.errors import LeaseLost
from offhook.stores.api import (
    Claim,
    Claimed,
    Draft,
    Filter,
    Retention,
    SavedState,
    SendClaim,
    SendOutcome,
    Settlement,
    Store,
)
from testing import stores as support
from testing.stores import opened
from tests.conformance.clocks import Clock, clock_of
from tests.conformance.model import (
    LOOP,
    Entry,
    Found,
    LostError,
    Model,
    Post,
    Run,
    Saved,
    Written,
)

T = TypeVar("T")

# Seconds. A history takes a few real ones, and no two sums of these are closer than a hundred.
LEASE = 100
LATER = 1000
NOTICE = 150
ONCE_IN = 300
PASSING = (200, 5000)
RETENTION = Retention(settled=300, dead=2000, parked=1000, keys=4000)
ROUGHLY = 50

STATUSES = "statuses"
LANES = ("1", "2", STATUSES)
SIDS = 7

ENDINGS = (
    Trigger.COMPLETE, Trigger.RETRY, Trigger.DISCARD, Trigger.GIVE_UP, Trigger.INTERRUPT,
    Trigger.PARK,
)  # fmt: skip
OUTCOMES = (SendTrigger.ACCEPT, SendTrigger.LOSE, SendTrigger.REFUSE, SendTrigger.POSTPONE)
REPORTS = (Delivery("sent"), Delivery("delivered"), Delivery("failed", "30003"))

which = st.integers(0, 11)  # one of those there are, the last one first
owners = st.sampled_from(("w1", "w2"))
delays = st.sampled_from((0, LATER))
identities = st.lists(st.sampled_from(("reply:0", "reply:1", "return:0")), max_size=2, unique=True)


states = st.sampled_from((None, b"", b"1", b"2"))


class Action(Enum):
    """What operators do."""

    REPLAY = auto()
    DROP = auto()
    PRUNE = auto()
    REDUCE = auto()


def person(lane: str) -> str:
    """Return who writes in a lane; statuses are of what was sent to the first."""
    return f"+1555123000{lane if lane != STATUSES else 1}"


def value_of(state: Saved | SavedState | None) -> bytes | None:
    return None if state is None else state.value


def webhook(number: int, *, noticed: bool) -> Inbound:
    lane = LANES[number % len(LANES)]
    kind = Kind.STATUS if lane == STATUSES else Kind.MESSAGE
    made = support.inbound(f"SM{number}", lane, kind=kind, notice_after=NOTICE if noticed else None)
    ours = "+15005550006"
    return made._replace(
        sender=ours if kind is Kind.STATUS else person(lane),
        recipient=person(lane) if kind is Kind.STATUS else ours,
    )


def draft(identity: str, lane: str, *, once_in: float = 0.0) -> Draft:
    return Draft(identity, "AC1", "+15005550006", person(lane), "hello", once_in=once_in)


NOBODY = Post(webhook(0, noticed=False), id=0, place=0, due=0.0, received=0.0, notice_due=None)


@dataclass
class Bench:
    """Two processes on one store, and its clock."""

    loop: asyncio.AbstractEventLoop
    stores: Sequence[Store]
    clock: Clock
    turns: int = 0

    @property
    def store(self) -> Store:
        self.turns += 1
        return self.stores[self.turns % len(self.stores)]

    def wait(self, work: Awaitable[T]) -> T:
        async def main() -> T:
            return await work

        return self.loop.run_until_complete(main())


@dataclass
class Begun:
    """A run, or the sending of something, as the store and the model know it."""

    claim: Claim
    run: Run
    sends: list[Entry] = field(default_factory=list)

    @property
    def token(self) -> int:
        return self.run.token


@dataclass
class Sending:
    claim: SendClaim
    entry: Entry
    token: int


class Protocol(RuleBasedStateMachine):
    """The rules. `bench` is set by the test.

    They have no preconditions: of several lanes due since the same moment a store may take any, so
    what can be done next may differ when Hypothesis repeats a history, which it takes for an error.
    """

    bench: Bench

    def __init__(self) -> None:
        super().__init__()
        self.model = Model()
        self.runs: list[Begun] = []
        self.sendings: list[Sending] = []
        self.seen: dict[int, Any] = {}
        self.bench.wait(self.bench.clock.clear())

    # Queue

    @initialize(numbers=st.sets(st.integers(0, SIDS - 1), min_size=2))
    def messages_have_come(self, numbers: set[int]) -> None:
        for number in sorted(numbers):
            self.accept(number, noticed=False)

    @rule(number=st.integers(0, SIDS - 1), noticed=st.booleans())
    def accept(self, number: int, noticed: bool) -> None:
        inbound = webhook(number, noticed=noticed)

        def new_id() -> int:
            (record,) = self.ask(lambda store: store.find(Filter(sid=inbound.sid, limit=1)))
            return record.id

        new = self.do(lambda store: store.accept(inbound))
        assert new == self.model.accept(inbound, new_id)

    @rule(owner=owners, at_once=st.booleans())
    def claim(self, owner: str, at_once: bool) -> None:
        """Claim all that can be had, at once or one by one."""
        claimed = self._claim(owner, alone=False, limit=100 if at_once else 1)
        found = self.model.claim(LEASE, owner)
        self._compare_claims(claimed, found)
        self._compare_due(claimed.next_due, found.next_due)

    @rule(owner=owners)
    def claim_alone(self, owner: str) -> None:
        """Claim while nothing else runs here: a suspect, if there is one."""
        lanes = self.model.due_suspects()
        claimed = self._claim(owner, alone=True, limit=100)
        buried: Sequence[int] = ()
        if lanes:
            found = self.model.claim_alone(self._looked_at(lanes, claimed), LEASE, owner)
            if found.runs:
                self._compare_claims(claimed, found)
                return
            buried = found.buried
        found = self.model.claim(LEASE, owner)
        self._compare_claims(claimed, found._replace(buried=[*buried, *found.buried]))

    @rule(
        which=which, trigger=st.sampled_from(ENDINGS), delay=delays, holds=st.booleans(),
        names=identities, opt_out=st.booleans(), state=states,
    )  # fmt: skip
    def settle(
        self,
        *,
        which: int,
        trigger: Trigger,
        delay: int,
        holds: bool,
        names: list[str],
        opt_out: bool,
        state: bytes | None,
    ) -> None:
        """End a run: in time, late, again, or though it has crashed."""
        if not self.runs:
            return
        begun = self.pick(self.runs, which)
        settlement = Settlement(
            trigger,
            delay=delay if trigger in {Trigger.RETRY, Trigger.INTERRUPT} else 0,
            holds_lane=holds or trigger is not Trigger.RETRY,
            drafts=tuple(draft(name, begun.claim.lane) for name in names),
            cancel_lane=opt_out and trigger is Trigger.COMPLETE,
            state=None if begun.claim.kind is Kind.STATUS else state,
        )
        self._write(
            lambda store: store.settle(begun.claim, settlement),
            lambda: self.model.settle(begun.run, settlement),
            begun,
        )

    @rule(which=which, of_sends=st.booleans(), lease=st.sampled_from((0, LEASE)))
    def renew(self, which: int, of_sends: bool, lease: int) -> None:
        """Renew a lease, or let it run out."""
        if not (self.runs or self.sendings):
            return
        one: Begun | Sending
        if self.sendings and (of_sends or not self.runs):
            one = self.pick(self.sendings, which)
        else:
            one = self.pick(self.runs, which)
        lost = self.do(lambda store: store.renew([one.claim.token], lease=lease))
        assert (not lost) == self.model.renew(one.token, lease)

    @rule(owner=owners)
    def worker_dies(self, owner: str) -> None:
        """Release what a process had whose death is known."""
        released = self.do(lambda store: store.release(owner))
        assert released == self.model.release(owner)

    @rule(owner=owners, kept=st.sets(which, max_size=2), of_sends=st.booleans())
    def hand_back(self, owner: str, kept: set[int], of_sends: bool) -> None:
        """End the leases of which a worker, whose claim was not answered, does not know."""
        begun: Sequence[Begun | Sending] = self.sendings if of_sends else self.runs
        held = [self.pick(begun, number) for number in kept] if begun else []
        theirs, ours = {one.claim.token for one in held}, {one.token for one in held}
        if of_sends:
            ended = self.do(lambda store: store.hand_back_sends(owner, theirs))
            assert ended == self.model.hand_back_sends(owner, ours)
        else:
            ended = self.do(lambda store: store.hand_back(owner, theirs))
            assert ended == self.model.hand_back(owner, ours)

    @rule(seconds=st.sampled_from(PASSING))
    def time_passes(self, seconds: int) -> None:
        self.bench.wait(self.bench.clock.advance(seconds))
        self.model.tick(seconds)

    # Ledger

    @rule(which=which, names=identities, once=st.booleans())
    def write(self, which: int, names: list[str], once: bool) -> None:
        if not self.runs:
            return
        self._write_drafts(self.pick(self.runs, which), names, ONCE_IN if once else 0.0)

    @rule(which=which, slow=st.booleans(), once=st.booleans())
    def notify(self, which: int, slow: bool, once: bool) -> None:
        if not self.model.posts:
            return
        post = self.pick(self.model.posts, which)
        notice = draft(
            "notice:slow" if slow else "notice:failure",
            post.lane,
            once_in=ONCE_IN if once else 0.0,
        )
        send = self.do(lambda store: store.notify(post.id, notice, settled=not slow))
        entry = self.model.notify(post, notice, settled=not slow)
        assert (send is None) == (entry is None)
        if send is not None and entry is not None:
            self._same_send(send, Written(entry, repeated=False))

    @rule(owner=owners)
    def claim_sends(self, owner: str) -> None:
        claimed = self.do(lambda store: store.claim_sends(100, lease=LEASE, owner=owner))
        claims, entries = claimed.claims, self.model.claim_sends(LEASE, owner)
        found = sorted((one.id, one.message_id, one.draft.identity, one.tries) for one in claims)
        assert found == sorted((e.id, e.message.id, e.identity, e.tries) for e in entries)
        by_id = {entry.id: entry for entry in entries}
        self.sendings += [Sending(one, by_id[one.id], by_id[one.id].token) for one in claims]
        due = self.ask(lambda store: store.next_send_due())
        for told in (claimed.next_due, due):
            self._compare_due(told, self.model.next_send_due())

    @rule(which=which, trigger=st.sampled_from(OUTCOMES), delay=delays)
    def settle_send(self, which: int, trigger: SendTrigger, delay: int) -> None:
        if not self.sendings:
            return
        sending = self.pick(self.sendings, which)
        accepted = trigger is SendTrigger.ACCEPT
        outcome = SendOutcome(
            trigger,
            sid=f"SMout{sending.claim.id}" if accepted else "",
            status="queued" if accepted else "",
            error_code="21610" if trigger is SendTrigger.REFUSE else "",
            delay=delay if trigger is SendTrigger.POSTPONE else 0,
        )
        self.do(lambda store: store.settle_send(sending.claim, outcome))
        self.model.settle_send(sending.entry, sending.token, outcome)

    @rule(which=which, reported=st.sampled_from(REPORTS), named=st.booleans(), ours=st.booleans())
    def report(self, which: int, reported: Delivery, named: bool, ours: bool) -> None:
        """Take a status callback, with the send's number or without, or of another message."""
        if not self.sendings:
            return
        entry = self.pick(self.sendings, which).entry
        sid = f"SM{'out' if ours else 'other'}{entry.id}"
        meant = self.do(
            lambda store: store.record_delivery(
                entry.id if named else None, sid, reported, account_sid="AC1"
            )
        )
        assert meant == self.model.record_delivery(entry if named else None, sid, reported)

    @rule(again=st.booleans())
    def look_up(self, again: bool) -> None:
        """Look in Twilio's list, in vain, for what is unknown to a person."""
        due = self.model.due_people()
        inquiry = self.do(lambda store: store.claim_unknown(lease=LEASE))
        assert (inquiry is None) == (not due)
        if inquiry is None:
            return
        (to,) = inquiry.recipients
        assert to in due
        entries = {entry.id: entry for entry in self.model.claim_unknown(to, LEASE)}
        assert {send.id for send in inquiry.sends} == entries.keys()
        finding = Finding.REPEAT if again else Finding.MISSING
        verdicts = [Verdict(send, finding, again=LATER) for send in inquiry.sends]
        happened = self.do(lambda store: store.settle_unknown(verdicts))
        if again:
            assert happened == {id_: self.model.repeat(one) for id_, one in entries.items()}
        else:
            assert happened == {}
            for entry in entries.values():
                entry.look_due = self.model.now + LATER

    # Inbox

    @rule(action=st.sampled_from(Action), which=which)
    def operate(self, action: Action, which: int) -> None:
        post = self.pick(self.model.posts, which) if self.model.posts else NOBODY
        match action:
            case Action.REPLAY:
                assert self.do(lambda store: store.replay(post.id)) == self.model.replay(post)
                for begun in self.runs:  # what was erased before that, an operator sends again
                    if begun.run.post is post:
                        begun.sends.clear()
            case Action.DROP:
                assert self.do(lambda store: store.drop(post.id)) == self.model.drop(post)
            case Action.PRUNE:
                gone = self.do(lambda store: store.prune(RETENTION, 100))
                assert gone == self.model.prune(RETENTION)
            case Action.REDUCE:
                assert self.do(lambda store: store.reduce(100)) == self.model.reduce()

    @rule(which=which, retries=st.booleans(), unknown=st.booleans())
    def operate_sends(self, which: int, retries: bool, unknown: bool) -> None:
        if not self.model.entries:
            return
        entry = self.pick(self.model.entries, which)
        if not retries:
            assert self.do(lambda store: store.cancel_send(entry.id)) == (
                self.model.cancel_send(entry)
            )
            return
        retried = self.do(lambda store: store.retry_send(entry.id, unknown=unknown))
        expected = self.model.retry_send(entry, unknown=unknown)
        assert (retried is None) == (expected is None)
        if retried is not None and expected is not None:
            expected.id = expected.id or retried
            assert retried == expected.id

    @rule(which=which, lane=st.sampled_from(LANES), at_work=st.booleans())
    def erase(self, which: int, lane: str, at_work: bool) -> None:
        """Forget somebody, or somebody to whom a run has just written."""
        running = [one for one in self.runs if one.run.post.token == one.token]
        if at_work and running:
            begun = self.pick(running, which)
            if begun.run.post.state is State.RUNNING:
                self._write_drafts(begun, ["reply:0"])
            lane = begun.claim.lane
        erasure = self.do(lambda store: store.erase(person(lane), 100))
        assert (erasure.erased, erasure.busy) == self.model.erase(person(lane))

    # Comparison

    @invariant()
    def no_message_can_send_again_what_it_has_sent(self) -> None:
        """What a run has written is in the ledger for as long as its message may run again."""
        for begun in self.runs:
            post = begun.run.post
            if post in self.model.posts and post.state in LIVE:
                assert all(entry in self.model.entries for entry in begun.sends)

    @invariant()
    def everything_is_the_same(self) -> None:
        self.ask(self._compare)

    async def _compare(self, store: Store) -> None:
        model = self.model
        posts = sorted(model.posts, key=lambda post: -post.id)
        records = await store.find(Filter(limit=1000))
        assert [record.id for record in records] == [post.id for post in posts]
        for post, record in zip(posts, records, strict=True):
            assert (record.sid, record.state, record.attempts, record.crashes, record.reduced) == (
                post.inbound.sid, post.state, post.attempts, post.crashes, post.reduced,
            )  # fmt: skip
        changed = [post for post in posts if self.seen.get(post.id) != self._known(post)]
        await asyncio.gather(*(self._compare_history(store, post) for post in changed))
        counts = await store.counts()
        for state in State:
            assert counts.messages[state] == sum(post.state is state for post in posts), state
        for send_state in SendState:
            known = sum(entry.state is send_state for entry in model.entries)
            assert counts.sends[send_state] == known, send_state
        assert sorted(late.id for late in await store.overdue(100)) == sorted(model.overdue())
        assert await store.backlog(100) == sum(post.state in LIVE for post in posts)
        for lane in LANES:
            assert value_of(await store.saved_state(lane)) == value_of(model.states.get(lane))
        due, latest = await store.next_send_due(), model.next_send_due()
        assert latest is None or (due is not None and due < latest + ROUGHLY)

    async def _compare_history(self, store: Store, post: Post) -> None:
        history = await store.show(post.id)
        assert history is not None
        attempts = tuple((one.trigger, one.number) for one in history.attempts)
        sends = tuple((s.id, s.identity, s.state, s.sid, s.delivery, s.body) for s in history.sends)
        self.seen[post.id] = self._known(post)
        assert (attempts, sends) == self.seen[post.id]

    def _known(self, post: Post) -> tuple[tuple[Any, ...], tuple[Any, ...]]:
        """Return what is known of a message's attempts and sends."""
        sends = (entry for entry in self.model.entries if entry.message is post)
        return tuple(post.history), tuple(
            (e.id, e.identity, e.state, e.sid, e.delivery, e.body)
            for e in sorted(sends, key=lambda entry: entry.id)
        )

    def teardown(self) -> None:
        """Compare what has not changed for long."""
        self.seen.clear()
        self.ask(self._compare)

    # Steps

    def do(self, change: Callable[[Store], Awaitable[T]]) -> T:
        """Change the store, at a moment of its own."""
        time.sleep(0.001)  # SQLite's clock has no finer ticks
        self.model.tick()
        return self.bench.wait(change(self.bench.store))

    def ask(self, question: Callable[[Store], Awaitable[T]]) -> T:
        return self.bench.wait(question(self.bench.store))

    def pick(self, things: Sequence[T], number: int) -> T:
        return things[-1 - number % len(things)]

    def _claim(self, owner: str, *, alone: bool, limit: int) -> Claimed:
        found = Claimed(next_due=0.0)
        while found.next_due is not None and found.next_due < ROUGHLY:
            more = self.do(
                lambda store: store.claim(limit, lease=LEASE, owner=owner, alone=alone, loop=LOOP)
            )
            found = replace(
                more,
                claims=(*found.claims, *more.claims),
                buried=(*found.buried, *more.buried),
            )
            if limit > 1:
                break
        return found

    def _looked_at(self, lanes: Sequence[str], claimed: Claimed) -> str:
        """Return which one of the lanes, due since the same moment, a claim has looked at."""
        claims = {claim.lane for claim in claimed.claims}
        buried = {one.id for one in claimed.buried}
        dying = {lane: self.model.dying(lane) for lane in lanes}
        ended = [
            lane
            for lane, post in dying.items()
            if post and (post.id in buried or post.inbound.kind is Kind.STATUS)
        ]
        return next((lane for lane in lanes if lane in claims), [*ended, *lanes][0])

    def _compare_claims(self, claimed: Claimed, found: Found) -> None:
        runs = {run.post.id: run for run in found.runs}
        known = sorted((r.post.id, r.attempt, r.crashes, r.turns) for r in found.runs)
        claims = sorted((c.id, c.attempt, c.crashes, c.turns) for c in claimed.claims)
        assert claims == known
        for one in claimed.claims:
            assert value_of(one.state) == value_of(runs[one.id].state)
        assert sorted(one.id for one in claimed.buried) == sorted(found.buried)
        assert claimed.suspects == found.suspects
        self.runs += [Begun(claim, runs[claim.id]) for claim in claimed.claims]

    def _compare_due(self, due: float | None, known: float | None) -> None:
        assert due == (None if known is None else pytest.approx(known, abs=ROUGHLY))

    def _write_drafts(self, begun: Begun, names: Sequence[str], once_in: float = 0.0) -> None:
        drafts = [draft(name, begun.claim.lane, once_in=once_in) for name in names]
        self._write(
            lambda store: store.write(begun.claim, drafts),
            lambda: self.model.write(begun.run, drafts),
            begun,
        )

    def _write(
        self,
        write: Callable[[Store], Awaitable[tuple[Send, ...]]],
        model: Callable[[], Sequence[Written]],
        begun: Begun,
    ) -> None:
        sends: tuple[Send, ...] | None
        written: Sequence[Written] | None
        try:
            sends = self.do(write)
        except LeaseLost:
            sends = None
        try:
            written = model()
        except LostError:
            written = None
        assert (sends is None) == (written is None)
        for send, one in zip(sends or (), written or (), strict=True):
            self._same_send(send, one)
            begun.sends.append(one.entry)

    def _same_send(self, send: Send, written: Written) -> None:
        if not written.repeated:
            written.entry.id = send.id
        entry = written.entry
        assert (send.id, send.identity, send.state, send.body, send.repeated) == (
            entry.id, entry.identity, entry.state, entry.body, written.repeated,
        )  # fmt: skip


def compare(url: str, chosen: settings) -> None:
    with asyncio.Runner() as runner:
        loop = runner.get_loop()
        stack = AsyncExitStack()

        async def open_bench() -> Bench:
            stores = [await stack.enter_async_context(opened(url)) for _ in range(2)]
            return Bench(loop, stores, await stack.enter_async_context(clock_of(url)))

        try:
            machine = type("OfStore", (Protocol,), {"bench": runner.run(open_bench())})
            run_state_machine_as_test(machine, settings=chosen)
        finally:
            runner.run(stack.aclose())


COMMON = settings(
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
SHORT = settings(COMMON, max_examples=15, stateful_step_count=40, derandomize=True)
LONG = settings(COMMON, max_examples=3000, stateful_step_count=60)


def test_a_random_history_is_that_of_the_model(url: str) -> None:
    compare(url, SHORT)


@pytest.mark.long
@pytest.mark.timeout(7200)
def test_many_long_random_histories_are_those_of_the_model(url: str) -> None:
    compare(url, LONG)
