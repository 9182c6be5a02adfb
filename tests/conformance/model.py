"""The protocol of messages, leases and sends as plain Python: what a store is compared with.

It knows no SQL, no concurrency and no clock but its own. It is written from the contracts in
`stores/api.py` and the tables in `core/lifecycle.py`; where both stores differ from it, either may
be wrong.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import (
    CRASHES_UNTIL_ALONE,
    CRASHES_UNTIL_DEAD,
    LIVE,
    MAY_HAVE_LEFT,
    NOT_DELIVERED,
    SETTLED,
    Delivery,
    SendState,
    SendTrigger,
    State,
    Trigger,
    after_crash,
    later_delivery,
    reported_trigger,
    send_sources,
    send_target,
    sources,
    target,
)
from offhook.core.loop_detection import LoopRule
from offhook.core.unknown_sends import FIRST_LOOK, LOOKED_FOR, REPEATS
from offhook.stores.api import Draft, Retention, SendOutcome, Settlement

_COUNTED = {Trigger.COMPLETE, Trigger.DISCARD, Trigger.RETRY, Trigger.GIVE_UP}
_UNSENT = {SendState.FAILED, SendState.UNDELIVERED, SendState.CANCELED}
_SENDING = {SendState.PENDING, SendState.SENDING}
LOOP = LoopRule(within=900.0, pace=100.0)
_TICK = 1 / 1024  # seconds; no two steps are at the same time


@dataclass(eq=False)
class Entry:
    """A send in the ledger. `id` is the store's."""

    message: "Post"
    identity: str
    body: str
    to: str
    created: float
    due: float
    id: int = 0
    settled: float | None = None
    state: SendState = SendState.PENDING
    token: int = 0
    tries: int = 0
    sid: str = ""
    delivery: Delivery | None = None
    look_due: float | None = None
    repeats: int = REPEATS
    wanted: bool = True


@dataclass(eq=False)
class Post:
    """A message. `id` is the store's."""

    inbound: Inbound
    id: int
    place: int
    due: float
    received: float
    notice_due: float | None
    state: State = State.OPEN
    holds: bool = True
    attempts: int = 0
    crashes: int = 0
    token: int = 0
    settled: float | None = None
    reduced: bool = False
    history: list[tuple[Trigger, int]] = field(default_factory=list)

    @property
    def lane(self) -> str:
        return self.inbound.lane


@dataclass
class Lease:
    token: int
    owner: str
    until: float


class Saved(NamedTuple):
    """The state of a conversation; `version` is the token of the run that saved it."""

    value: bytes
    version: int
    person: str


class Run(NamedTuple):
    """A run that a claim has begun, and what a worker is told of it."""

    post: Post
    token: int
    attempt: int
    crashes: int
    turns: int
    state: Saved | None


class Found(NamedTuple):
    """What a claim finds; `next_due` is None when nothing waits."""

    runs: Sequence[Run]
    buried: Sequence[int]
    suspects: bool
    next_due: float | None


class Written(NamedTuple):
    entry: Entry
    repeated: bool


class LostError(Exception):
    """Another run has the message."""


class Model:
    """All that a store holds."""

    def __init__(self) -> None:
        self.now = 0.0
        self.posts: list[Post] = []
        self.entries: list[Entry] = []
        self.keys: dict[bytes, float] = {}
        self.leases: dict[str, Lease] = {}
        self.send_leases: dict[str, Lease] = {}
        self.states: dict[str, Saved] = {}
        self.suspects: dict[str, float] = {}  # lanes set aside until somebody is alone, since when
        self._last = 0

    def tick(self, seconds: float = 0.0) -> None:
        self.now += _TICK + seconds

    # Queue

    def accept(self, inbound: Inbound, new_id: Callable[[], int]) -> bool:
        if inbound.key in self.keys:
            return False
        self.keys[inbound.key] = self.now
        wait = inbound.notice_after
        notice_due = None if wait is None else self.now + wait
        post = Post(inbound, new_id(), self._next(), self.now, self.now, notice_due)
        self.posts.append(post)
        return True

    def claim(self, lease: float, owner: str) -> Found:
        """Take the first of every lane that is not set aside."""
        runs: list[Run] = []
        buried: list[int] = []
        for lane in self._lanes():
            if lane in self.suspects or not self._is_free(lane):
                continue
            buried += self._crash(lane)
            head = self._head(lane)
            if head is None or head.due > self.now:
                self.leases.pop(lane, None)
            elif head.crashes >= CRASHES_UNTIL_ALONE:
                self.leases.pop(lane, None)
                self.suspects[lane] = self.now
            else:
                runs.append(self._take(head, lease, owner))
        return Found(runs, buried, self._has_suspects(), self._next_due())

    def claim_alone(self, lane: str, lease: float, owner: str) -> Found:
        """Look at a lane that was set aside; without a run, the others are to be looked at."""
        buried = self._crash(lane)
        head = self._head(lane)
        if head is None or head.due > self.now:
            self._leave(lane)
            return Found((), buried, self._has_suspects(), None)
        return Found((self._take(head, lease, owner),), buried, self._has_suspects(), None)

    def due_suspects(self) -> list[str]:
        """Return the lanes, set aside, that may be claimed alone now; those due longest."""
        due = {lane: self._suspect_due(lane) for lane in self.suspects}
        first = min(due.values(), default=self.now)
        return [lane for lane, moment in due.items() if moment == first <= self.now]

    def dying(self, lane: str) -> Post | None:
        """Return the message in a lane that the next crash makes dead."""
        running = (post for post in self._live(lane) if post.state is State.RUNNING)
        return next((post for post in running if post.crashes + 1 >= CRASHES_UNTIL_DEAD), None)

    def renew(self, token: int, lease: float) -> bool:
        """Return whether the lease is still there."""
        for leases in (self.leases, self.send_leases):
            for one in leases.values():
                if one.token == token:
                    one.until = self.now + lease
                    return True
        return False

    def release(self, owner: str) -> int:
        leases = [*self.leases.values(), *self.send_leases.values()]
        released = [lease for lease in leases if lease.owner == owner]
        for lease in released:
            lease.until = self.now
        return len(released)

    def hand_back(self, owner: str, held: Collection[int]) -> int:
        """End leases on messages that their owner does not know of."""
        unheld = _unheld(self.leases, owner, held)
        for lane, token in unheld.items():
            for post in self._live(lane):
                if post.token == token and post.state is State.RUNNING:
                    post.state = target(Trigger.INTERRUPT)
                    post.token, post.due = 0, self.now
                    post.history.append((Trigger.INTERRUPT, post.attempts + 1))
            self._leave(lane)
        return len(unheld)

    def settle(self, run: Run, settlement: Settlement) -> list[Written]:
        post, state = run.post, target(settlement.trigger)
        self._check(run)
        if post.state is not State.RUNNING:
            return []
        post.state = state
        post.attempts += settlement.trigger in _COUNTED
        post.due = self.now + settlement.delay
        post.holds = settlement.holds_lane
        if settlement.trigger is not Trigger.COMPLETE:
            post.history.append((settlement.trigger, run.attempt))
        self._rest(post)
        if settlement.cancel_lane:
            self._cancel(entry for entry in self.entries if entry.message.lane == post.lane)
            self._leave_unwanted(post.lane)
        elif state not in LIVE:
            self._cancel(e for e in self._sends(post) if e.identity == "notice:slow")
        if settlement.state is not None:
            self._save(run, settlement.state)
        written = self._write_all(post, settlement.drafts)
        if post.lane in self.leases and self.leases[post.lane].token == run.token:
            self._leave(post.lane)
        return written

    def overdue(self) -> list[int]:
        return [post.id for post in self.posts if (post.notice_due or self.now + 1) <= self.now]

    # Ledger

    def write(self, run: Run, drafts: Sequence[Draft]) -> list[Written]:
        self._check(run)
        if run.post.state is not State.RUNNING:
            raise LostError
        return self._write_all(run.post, drafts)

    def notify(self, post: Post, draft: Draft, *, settled: bool) -> Entry | None:
        if post not in self.posts or (post.state not in LIVE and not settled):
            return None
        if draft.identity == "notice:slow":
            post.notice_due = None
        written = self._write_all(post, [draft])
        return written[0].entry if written and not written[0].repeated else None

    def claim_sends(self, lease: float, owner: str) -> list[Entry]:
        taken = []
        for lane in self._lanes():
            held = self.send_leases.get(lane)
            if held is not None and held.until > self.now:
                continue
            self.send_leases.pop(lane, None)
            for entry in self._lane_sends(lane):
                if entry.state is SendState.SENDING:
                    entry.state = send_target(SendTrigger.LOSE)
                    entry.settled = self.now
            head = next(iter(self._lane_sends(lane)), None)
            if head is not None and head.due <= self.now:
                head.state = send_target(SendTrigger.CLAIM)
                head.token, head.tries = self._next(), head.tries + 1
                self.send_leases[lane] = Lease(head.token, owner, self.now + lease)
                taken.append(head)
        return taken

    def hand_back_sends(self, owner: str, held: Collection[int]) -> int:
        """End leases on sends that their owner does not know of."""
        unheld = _unheld(self.send_leases, owner, held)
        for lane, token in unheld.items():
            for entry in self._lane_sends(lane):
                if entry.token == token and entry.state is SendState.SENDING:
                    entry.state = send_target(SendTrigger.POSTPONE)
                    entry.token, entry.due, entry.tries = 0, self.now, entry.tries - 1
                    self._cancel([entry] if self._is_unwanted(entry) else [])
            del self.send_leases[lane]
        return len(unheld)

    def settle_send(self, entry: Entry, token: int, outcome: SendOutcome) -> None:
        if entry not in self.entries or entry.token != token:
            return
        if entry.state in send_sources(outcome.trigger):
            entry.state = send_target(outcome.trigger)
            entry.due = self.now + outcome.delay
            entry.settled = None if outcome.trigger is SendTrigger.POSTPONE else self.now
            entry.sid = outcome.sid or entry.sid
            status = outcome.status if entry.delivery is None else entry.delivery.status
            entry.delivery = Delivery(status, outcome.error_code) if status else None
            if outcome.trigger is SendTrigger.POSTPONE and self._is_unwanted(entry):
                self._cancel([entry])
        self._end_sending(entry)

    def record_delivery(self, entry: Entry | None, sid: str, reported: Delivery) -> bool:
        if entry is None:
            entry = next((e for e in self.entries if e.sid == sid), None)
        if entry is None or entry not in self.entries or entry.sid not in {"", sid}:
            return False
        entry.delivery = later_delivery(entry.delivery, reported)
        trigger = reported_trigger(entry.delivery)
        if entry.state in send_sources(trigger):
            entry.state = send_target(trigger)
            entry.settled = self.now
            self._end_sending(entry)
        entry.sid = sid
        return True

    def due_people(self) -> set[str]:
        """Return to whom a send is to be looked up."""
        return {
            entry.to
            for entry in self.entries
            if self._is_looked_up(entry)
            and self._lost(entry) >= FIRST_LOOK
            and (entry.look_due is None or entry.look_due <= self.now)
        }

    def claim_unknown(self, to: str, lease: float) -> list[Entry]:
        found = [entry for entry in self.entries if self._is_looked_up(entry) and entry.to == to]
        for entry in found:
            entry.look_due = self.now + lease
        return found

    def repeat(self, entry: Entry) -> SendTrigger:
        """Send again what Twilio's list has lacked twice."""
        if self._is_unwanted(entry):
            trigger = SendTrigger.WITHDRAW
        else:
            trigger = SendTrigger.REPEAT if entry.repeats else SendTrigger.GIVE_UP
        entry.state = send_target(trigger)
        entry.look_due, entry.due = None, self.now
        if trigger is SendTrigger.REPEAT:
            entry.repeats, entry.settled = entry.repeats - 1, None
        else:
            entry.settled = self.now
        return trigger

    def next_send_due(self) -> float | None:
        dues = (self._send_due(lane) for lane in self._lanes())
        return min((due for due in dues if due is not None), default=None)

    # Inbox

    def replay(self, post: Post) -> bool:
        if not self._may(post, Trigger.REPLAY) or post.reduced:
            return False
        hurried = post.state in LIVE
        post.state = target(Trigger.REPLAY)
        post.place = post.place if hurried else self._next()
        post.due, post.holds = self.now, True
        post.attempts, post.crashes = int(hurried), 0
        post.settled = None
        post.history.append((Trigger.REPLAY, post.attempts))
        for entry in self._sends(post):
            chain = self._with_replaced(entry)
            if entry.state not in _UNSENT or any(map(_may_have_left, chain)):
                continue
            for one in chain:
                one.identity = f"{one.identity}~{one.id}"
            if entry.state is not SendState.CANCELED:
                entry.state = send_target(SendTrigger.REPLACE)
        return True

    def drop(self, post: Post) -> bool:
        if not self._may(post, Trigger.DROP):
            return False
        post.state = target(Trigger.DROP)
        self._rest(post)
        post.history.append((Trigger.DROP, post.attempts))
        self._look_again(post.lane)
        return True

    def prune(self, retention: Retention) -> int:
        keys = [key for key, since in self.keys.items() if since < self.now - retention.keys]
        for key in keys:
            del self.keys[key]
        kept = {State.DEAD: retention.dead, State.PARKED: retention.parked}
        old = [
            post
            for post in self.posts
            if post.state not in LIVE
            and self._age(post) > kept.get(post.state, retention.settled)
            and not self._is_sending(post)
        ]
        self._delete(old)
        return len(keys) + len(old)

    def reduce(self) -> int:
        gone = [
            post
            for post in self.posts
            if post.state in SETTLED - {State.DEAD}
            and not post.reduced
            and not self._is_sending(post)
            and not any(map(self._is_looked_up, self._sends(post)))
        ]
        for post in gone:
            post.reduced = True
            for entry in self._sends(post):
                entry.body = ""
        return len(gone)

    def erase(self, address: str) -> tuple[int, int]:
        """Return how much was erased, and how much was busy."""
        posts = [post for post in self.posts if address in _people(post.inbound)]
        sends = [entry for entry in self.entries if entry.to == address]
        idle = [
            post
            for post in posts
            if post.state is not State.RUNNING
            and all(entry.state is not SendState.SENDING for entry in self._sends(post))
        ]
        gone = [
            entry
            for entry in sends
            if entry.state is not SendState.SENDING
            and (entry.message in idle or entry.message.state not in LIVE)
        ]
        self.entries = [entry for entry in self.entries if entry not in gone]
        self._delete(idle)
        for lane in {post.lane for post in [*idle, *(entry.message for entry in gone)]}:
            self._look_again(lane)
        erased = len(idle) + len(gone)
        lanes = {post.lane for post in idle}
        lanes |= {lane for lane, saved in self.states.items() if saved.person == address}
        states = [self.states.pop(lane) for lane in lanes if lane in self.states]
        return erased + len(states), len(posts) + len(sends) - erased

    # Outbox

    def retry_send(self, entry: Entry, *, unknown: bool) -> Entry | None:
        """Return the send that is sent now: the same, or another in its place."""
        if entry not in self.entries or entry.message.reduced or not entry.wanted:
            return None
        if entry.state in send_sources(SendTrigger.RETRY):
            entry.state = send_target(SendTrigger.RETRY)
            entry.due, entry.tries, entry.settled = self.now, 0, None
            return entry
        if entry.state not in send_sources(SendTrigger.REPLACE):
            return None
        if entry.state is SendState.UNKNOWN and not unknown:
            return None
        entry.state, entry.settled = send_target(SendTrigger.REPLACE), self.now
        identity = f"retry:{entry.id}"
        made = Entry(entry.message, identity, entry.body, entry.to, self.now, self.now)
        self.entries.append(made)
        return made

    def cancel_send(self, entry: Entry) -> bool:
        sources = send_sources(SendTrigger.CANCEL) | send_sources(SendTrigger.DISMISS)
        if entry not in self.entries or entry.state not in sources:
            return False
        entry.state, entry.settled = send_target(SendTrigger.CANCEL), self.now
        return True

    # What the parts have in common

    def _next(self) -> int:
        self._last += 1
        return self._last

    def _lanes(self) -> list[str]:
        lanes = [post.lane for post in self.posts] + [e.message.lane for e in self.entries]
        return list(dict.fromkeys([*lanes, *self.leases, *self.send_leases, *self.suspects]))

    def _live(self, lane: str) -> list[Post]:
        live = [post for post in self.posts if post.lane == lane and post.state in LIVE]
        return sorted(live, key=lambda post: post.place)

    def _head(self, lane: str) -> Post | None:
        """Return the first that may go; one that waits without holding its lane is passed by."""
        going = (post for post in self._live(lane) if post.holds or post.due <= self.now)
        return next(going, None)

    def _age(self, post: Post) -> float:
        return self.now - (self.now if post.settled is None else post.settled)

    def _is_free(self, lane: str) -> bool:
        return lane not in self.leases or self.leases[lane].until <= self.now

    def _take(self, post: Post, lease: float, owner: str) -> Run:
        assert post.state in sources(Trigger.CLAIM)
        post.state = target(Trigger.CLAIM)
        post.token = self._next()
        self.leases[post.lane] = Lease(post.token, owner, self.now + lease)
        turns, state = self._turns(post), self.states.get(post.lane)
        return Run(post, post.token, post.attempts + 1, post.crashes, turns, state)

    def _save(self, run: Run, value: bytes) -> None:
        """Replace the state that the run was given, unless it is gone."""
        lane = run.post.lane
        if self.states.get(lane) != run.state:
            return
        self.states.pop(lane, None)
        if value:
            self.states[lane] = Saved(value, run.token, run.post.inbound.sender)

    def _turns(self, post: Post) -> int:
        """Count the replies that were answered at a program's pace, the last of them by this."""
        replies = [
            entry
            for entry in self.entries
            if entry.message.lane == post.lane
            and entry.to == post.inbound.sender
            and entry.created > self.now - LOOP.within
            and entry.state in MAY_HAVE_LEFT
        ]
        if post.inbound.kind is not Kind.MESSAGE or self._answered(replies, post) is None:
            return 0
        answers = [post, *(entry.message for entry in replies)]
        return len({self._answered(replies, one) for one in answers} - {None})

    def _answered(self, replies: Sequence[Entry], post: Post) -> int | None:
        """Return the last reply that a message may have answered."""
        for entry in reversed(replies):
            left = self.now if entry.settled is None else entry.settled
            earliest = max(entry.created, left - LOOP.pace)
            if earliest <= post.received <= left + LOOP.pace:
                return entry.id
        return None

    def _crash(self, lane: str) -> list[int]:
        """Rescue or bury what still runs in a lane that is free; return whom to tell."""
        buried = []
        for post in self._live(lane):
            if post.state is State.RUNNING:
                post.crashes += 1
                trigger = after_crash(post.crashes)
                post.state = target(trigger)
                post.token, post.due = 0, self.now
                post.history.append((trigger, post.attempts + 1))
                self._rest(post)
                if post.state in SETTLED and post.inbound.kind is Kind.MESSAGE:
                    buried.append(post.id)
        return buried

    def _rest(self, post: Post) -> None:
        """See to what a message does not want any more once it is not live."""
        if post.state not in LIVE:
            post.notice_due, post.settled = None, self.now

    def _leave(self, lane: str) -> None:
        self.leases.pop(lane, None)
        self.suspects.pop(lane, None)

    def _look_again(self, lane: str) -> None:
        if lane not in self.leases:
            self.suspects.pop(lane, None)

    def _suspect_due(self, lane: str) -> float:
        return self.leases[lane].until if lane in self.leases else self.suspects[lane]

    def _has_suspects(self) -> bool:
        return any(self._suspect_due(lane) <= self.now for lane in self.suspects)

    def _next_due(self) -> float | None:
        dues = []
        for lane in self._lanes():
            if lane in self.suspects:
                continue
            if lane in self.leases:
                dues.append(self.leases[lane].until)
            elif (head := self._head(lane)) is not None:
                dues.append(head.due)
            else:
                dues += [post.due for post in self._live(lane)]
        return min((max(0.0, due - self.now) for due in dues), default=None)

    def _check(self, run: Run) -> None:
        if run.post not in self.posts or run.post.token != run.token:
            raise LostError

    def _may(self, post: Post, trigger: Trigger) -> bool:
        return post in self.posts and post.state in sources(trigger)

    def _sends(self, post: Post) -> list[Entry]:
        return [entry for entry in self.entries if entry.message is post]

    def _lane_sends(self, lane: str) -> list[Entry]:
        return [e for e in self.entries if e.message.lane == lane and e.state in _SENDING]

    def _is_sending(self, post: Post) -> bool:
        return any(entry.state in _SENDING for entry in self._sends(post))

    def _send_due(self, lane: str) -> float | None:
        if lane in self.send_leases:
            return max(0.0, self.send_leases[lane].until - self.now)
        head = next(iter(self._lane_sends(lane)), None)
        return None if head is None else max(0.0, head.due - self.now)

    def _lost(self, entry: Entry) -> float:
        return self.now - (self.now if entry.settled is None else entry.settled)

    def _is_looked_up(self, entry: Entry) -> bool:
        return entry.state is SendState.UNKNOWN and self._lost(entry) < LOOKED_FOR

    def _leave_unwanted(self, lane: str) -> None:
        for entry in self.entries:
            if entry.message.lane == lane and entry.state in {SendState.SENDING, SendState.UNKNOWN}:
                entry.wanted = False

    def _is_unwanted(self, entry: Entry) -> bool:
        is_over = entry.message.state not in LIVE
        return not entry.wanted or (entry.identity == "notice:slow" and is_over)

    def _with_replaced(self, entry: Entry) -> list[Entry]:
        """Return a send, and those that it has taken the place of."""
        chain = [entry]
        while before := [e for e in self.entries if chain[-1].identity == f"retry:{e.id}"]:
            chain += before
        return chain

    def _end_sending(self, entry: Entry) -> None:
        held = self.send_leases.get(entry.message.lane)
        if held is not None and held.token == entry.token:
            del self.send_leases[entry.message.lane]

    def _write_all(self, post: Post, drafts: Sequence[Draft]) -> list[Written]:
        written = (self._write(post, draft) for draft in drafts)
        return [one for one in written if one is not None]

    def _write(self, post: Post, draft: Draft) -> Written | None:
        for entry in self._sends(post):
            if entry.identity == draft.identity:
                return Written(entry, repeated=True)
        for entry in self.entries:
            if (
                entry.message.lane == post.lane
                and entry.identity == draft.identity
                and entry.created > self.now - draft.once_in
                and entry.state is not SendState.CANCELED
                and draft.once_in
            ):
                return None
        entry = Entry(post, draft.identity, draft.body, draft.to, self.now, self.now)
        self.entries.append(entry)
        return Written(entry, repeated=False)

    def _cancel(self, entries: Iterable[Entry]) -> None:
        for entry in list(entries):
            if entry.state in send_sources(SendTrigger.CANCEL):
                entry.state = send_target(SendTrigger.CANCEL)

    def _delete(self, posts: Sequence[Post]) -> None:
        self.posts = [post for post in self.posts if post not in posts]
        self.entries = [entry for entry in self.entries if entry.message not in posts]


def _may_have_left(entry: Entry) -> bool:
    missed = entry.delivery is not None and entry.delivery.status in NOT_DELIVERED
    return entry.state not in _UNSENT and not missed


def _unheld(leases: Mapping[str, Lease], owner: str, held: Collection[int]) -> dict[str, int]:
    return {
        lane: lease.token
        for lane, lease in leases.items()
        if lease.owner == owner and lease.token not in held
    }


def _people(inbound: Inbound) -> set[str]:
    """Return the addresses of whom a webhook is."""
    match inbound.kind:
        case Kind.MESSAGE:
            return {inbound.sender}
        case Kind.STATUS:
            return {inbound.recipient}
        case _:
            return {inbound.sender, inbound.recipient}
