"""What the services ask of the world: protocols whose docstrings are the contracts.

Adapters under `stores/` and `twilio/` keep them; `tests/conformance/` holds every store to them.
Times are seconds since the epoch, by the wall clock as it is set now; durations are seconds. A
store goes by a time of its own, which moves on evenly whatever that clock is set to.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum, StrEnum, auto
from typing import NamedTuple, Protocol

from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery, SendState, SendTrigger, State, Trigger
from offhook.core.loop_detection import Loop
from offhook.core.messages import Send
from offhook.core.reasons import Error
from offhook.core.responses import Answer
from offhook.core.search import Phrase


class Inbound(NamedTuple):
    """A validated webhook on its way into the store.

    A named tuple, because one is made for each request (see `Request`).

    Attributes:
        form: the parameters as they came: a form's body, or a GET's query.
        notice_after: seconds from receipt until the person is told that it takes longer, unless
            the message has settled by then; None for never.
        age: seconds since it was received, when it comes by way of a spool; else 0.
        spooled: it comes by way of a spool, and may be later than its successors.
    """

    kind: Kind
    key: bytes
    lane: str
    account_sid: str
    sid: str
    sender: str
    recipient: str
    form: bytes
    notice_after: float | None = None
    age: float = 0.0
    spooled: bool = False

    def __repr__(self) -> str:
        """Leave out what a person wrote, and who."""
        return f"Inbound({self.kind}, {self.sid!a})"


@dataclass(frozen=True, slots=True)
class Claim:
    """A message under a lease.

    Attributes:
        token: names this lease; every write of the run must carry it.
        attempt: which run this is, from 1. Crashes and interruptions are not counted.
        turns: how many of our replies to its sender were answered at a program's pace of late; none
            unless it is such an answer itself.
        replayed: an operator has put it back into its lane.
    """

    id: int
    token: int
    kind: Kind
    lane: str
    sid: str
    attempt: int
    crashes: int
    received: float
    form: bytes
    turns: int = 0
    replayed: bool = False


@dataclass(frozen=True, slots=True)
class Overdue:
    """A message whose person is to be told something, and the addresses for it."""

    id: int
    account_sid: str
    sender: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """What one claim found.

    Attributes:
        next_due: seconds until something falls due that was not claimed; None when nothing waits.
        suspects: True when a message waits that must run alone.
        buried: inbound messages that their last crash has made dead just now.
        step: seconds by which the clock that the store lives by was found to have been set, ahead
            or (negative) back; 0 for not. Nothing falls due earlier or later for it.
    """

    claims: tuple[Claim, ...] = ()
    next_due: float | None = None
    suspects: bool = False
    buried: tuple[Overdue, ...] = ()
    step: float = 0.0


@dataclass(frozen=True, slots=True)
class Draft:
    """A send to be written to the ledger.

    Attributes:
        sender: the number it comes from, or a Messaging Service SID.
        once_in: write it only if the lane has had none of this identity in so many seconds.
    """

    identity: str
    account_sid: str
    sender: str
    to: str
    body: str = ""
    media: tuple[str, ...] = ()
    content_sid: str = ""
    content_variables: Mapping[str, str] = field(default_factory=dict)
    once_in: float = 0.0


@dataclass(frozen=True, slots=True)
class Settlement:
    """How a run ended.

    Attributes:
        trigger: COMPLETE, DISCARD, RETRY, GIVE_UP, INTERRUPT or PARK.
        error: why it is not done; empty when it is.
        delay: with RETRY or INTERRUPT, the seconds until the next attempt.
        holds_lane: with RETRY, whether the lane waits with it.
        drafts: sends written in the same transaction.
        cancel_lane: cancel the lane's pending sends (the person has opted out).
    """

    trigger: Trigger
    error: Error = ""
    delay: float = 0.0
    holds_lane: bool = True
    drafts: tuple[Draft, ...] = ()
    cancel_lane: bool = False


@dataclass(frozen=True, slots=True)
class SendClaim:
    """A send under a lease, in state `sending`: from here on it may have left.

    Attributes:
        message_sid: the MessageSid of the message it answers.
        leaves_by: when it must have left, or must not any more: seconds of `clock.elapsed`.
    """

    id: int
    token: int
    message_id: int
    draft: Draft
    tries: int
    message_sid: str = ""
    leaves_by: float = math.inf


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """What became of a send.

    Attributes:
        trigger: ACCEPT, REFUSE, POSTPONE or LOSE.
        delay: with POSTPONE, the seconds until it is tried again.
        sid: with ACCEPT, Twilio's MessageSid.
        status: with ACCEPT, the status Twilio gave it.
        error_code: Twilio's, where it gave one.
        error: for people.
    """

    trigger: SendTrigger
    sid: str = ""
    status: str = ""
    error_code: str = ""
    error: str = ""
    delay: float = 0.0


Append = Callable[[Inbound], Awaitable[bool]]
"""Stores a webhook, or a request that is yet to be verified; contract and errors as of `Intake`."""


class Intake(Protocol):
    """Where webhooks go in."""

    def accept(self, inbound: Inbound) -> Awaitable[bool]:
        """Store a webhook durably, once. Return False when its key is known already.

        To be awaited at once: a future or a coroutine, whichever costs the store less.

        When it returns, the webhook has survived a power cut (fsync, or a commit of equal worth).
        Many calls share one commit. In a lane, the order of commits is the order of handling.

        Raises:
            StoreUnavailable: nothing was stored, or nothing that will be acknowledged.
            BacklogFull: nothing was stored: too many wait already.
        """
        ...


class Entrance(Intake, Protocol):
    """Where webhooks go in, and what whoever lets them in wants to know."""

    async def knows(self, inbound: Inbound) -> bool:
        """Return whether a webhook's key is known already. Reads only."""
        ...

    async def backlog(self, at_most: int) -> int:
        """Count the live messages, as far as `at_most`. The cost grows with `at_most` only."""
        ...


class Queue(Entrance, Protocol):
    """Messages in lanes, from accepted to settled."""

    async def claim(
        self, limit: int, *, lease: float, owner: str, alone: bool, loop: Loop | None = None
    ) -> Claimed:
        """Take up to `limit` messages, of different lanes, each the first of its lane.

        Lanes that have been due for longest come first. A lane whose lease has run out is due;
        its message, still running, has crashed once more: it is rescued, or buried, before
        anything is taken. A suspect (two crashes) is claimed only with `alone`, and then nothing
        else is. `loop` says which of a claim's `turns` are counted; none without it. The cost
        grows with `limit`, not with the backlog.
        """
        ...

    async def renew(self, tokens: Sequence[int], *, lease: float) -> frozenset[int]:
        """Prolong the leases to `lease` seconds from now. Return the tokens that are lost."""
        ...

    async def settle(self, claim: Claim, settlement: Settlement) -> tuple[Send, ...]:
        """End a run: state, lane and drafts in one transaction. Return the drafts' sends.

        A settled message's pending `notice:slow` is cancelled. Repeated with the same token it
        changes nothing and raises nothing.

        Raises:
            LeaseLost: another run has the message, or had it.
            StoreUnavailable: nothing was written.
        """
        ...

    async def release(self, owner: str) -> int:
        """Let the leases of a worker that is known to be dead run out at once; return how many.

        Its messages are then rescued as those of any expired lease.
        """
        ...

    async def hand_back(self, owner: str, held: Collection[int]) -> int:
        """End those leases of `owner` that it does not hold; return how many.

        It has them if the answer to a claim was lost. No handler has run: the messages are open
        again, and neither an attempt nor a crash is counted. Leases on sends are left alone.

        Args:
            owner: has no claim under way.
            held: the tokens of all that it is at work on.
        """
        ...

    async def overdue(self, limit: int) -> Sequence[Overdue]:
        """Return live messages whose `notice_after` has passed and that have had no notice."""
        ...

    def listen(self) -> asyncio.Event:
        """Return an event of the caller's own that is set when there may be new work.

        The caller clears it before it looks for work. A wake-up may be lost or be in vain: look
        every second all the same.
        """
        ...


class Ledger(Protocol):
    """Sends, from written to delivered. Within a lane they leave in the order they were written."""

    async def write(self, claim: Claim, drafts: Sequence[Draft]) -> tuple[Send, ...]:
        """Write sends of a running message, durably; known identities come back as `repeated`.

        Raises:
            LeaseLost: the run's lease has passed on. Nothing was written.
            StoreUnavailable: nothing was written.
        """
        ...

    async def notify(self, message_id: int, draft: Draft, *, settled: bool = False) -> Send | None:
        """Write a notice for a message, at most once a message.

        Return None when the message has settled (unless `settled`), has had the notice, or when
        its lane had one within `draft.once_in` seconds.
        """
        ...

    async def claim_sends(self, limit: int, *, lease: float, owner: str) -> Sequence[SendClaim]:
        """Take up to `limit` sends, of different lanes, each the first of its lane.

        A send still `sending` under a lease that ran out may have left: it becomes `unknown`, and
        holds nothing up.
        """
        ...

    async def hand_back_sends(self, owner: str, held: Collection[int]) -> int:
        """End those leases of `owner` on sends that it does not hold. As `Queue.hand_back`.

        Such a send has not left: it is pending again, and not `unknown`.
        """
        ...

    async def settle_send(self, claim: SendClaim, outcome: SendOutcome) -> None:
        """Record what became of a send.

        A status callback that came first is not overwritten. A send whose lease has run out is
        `unknown` by now; ACCEPT still makes it sent, for that is what it is, and nothing else
        changes it. Repeating it changes nothing.

        Raises:
            StoreUnavailable: nothing was written.
        """
        ...

    async def next_send_due(self) -> float | None:
        """Return the seconds until a send falls due, None when none is pending."""
        ...

    async def record_delivery(
        self, send_id: int | None, sid: str, reported: Delivery, *, account_sid: str
    ) -> bool:
        """Take over what a status callback says; never backwards. Return whether a send is meant.

        With an id, a send still `sending` or `unknown` becomes `sent`, and its lane goes on. A send
        of another account than has signed the callback is never meant.
        """
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run of a handler that did not complete, or a decision on a message."""

    number: int
    started: float | None
    ended: float
    trigger: Trigger
    error: Error


@dataclass(frozen=True, slots=True)
class Record:
    """A message as people look at it.

    Attributes:
        spooled: it came by way of a spool, and may be later than its successors.
        reduced: its form holds no more than what names it; it can't be replayed.
    """

    id: int
    kind: Kind
    state: State
    sid: str
    account_sid: str
    sender: str
    recipient: str
    lane: str
    attempts: int
    crashes: int
    received: float
    started: float | None
    settled: float | None
    due: float | None
    error: Error
    form: bytes
    spooled: bool = False
    reduced: bool = False


@dataclass(frozen=True, slots=True)
class Ahead:
    """A message that keeps later ones of its conversation waiting.

    Attributes:
        due: of one that waits for its next attempt, when that is.
    """

    id: int
    state: State
    due: float

    def in_words(self, when: str) -> str:
        """Return why it keeps others waiting; `when` says when it is due."""
        match self.state:
            case State.RUNNING:
                return "it is running"
            case State.WAITING:
                return f"its next attempt is {when}"
            case _:
                return "its turn comes first"


@dataclass(frozen=True, slots=True)
class History:
    """A message with all that happened to it.

    Attributes:
        behind: what it waits behind, if it waits for its turn; the message that goes first.
    """

    record: Record
    attempts: tuple[Attempt, ...]
    sends: tuple[Send, ...]
    behind: Ahead | None = None


@dataclass(frozen=True, slots=True)
class Filter:
    """Which messages to list; all that is given must fit. Newest first."""

    state: State | None = None
    kind: Kind | None = None
    sender: str = ""
    sid: str = ""
    since: float | None = None
    until: float | None = None
    before_id: int | None = None
    limit: int = 50


@dataclass(frozen=True, slots=True)
class Found:
    """What one look for words has found.

    Attributes:
        records: the messages, newest first.
        before: where to look on, as `Filter.before_id`; None when there is nothing older.
    """

    records: Sequence[Record]
    before: int | None


@dataclass(frozen=True, slots=True)
class Retention:
    """How long settled things are kept, in seconds.

    Attributes:
        settled: done and discarded messages.
        dead: dead messages.
        parked: parked messages, from when they were set aside.
        keys: dedupe keys, so that an old captured webhook is still a repeat. At least as long as
            the messages.
    """

    settled: float
    dead: float
    parked: float
    keys: float


@dataclass(frozen=True, slots=True)
class Erasure:
    """What one call has erased of a person.

    Attributes:
        erased: messages and sends that are gone.
        busy: those found that are running or being sent, and sends of messages that stay and may
            run again; they can go when that has ended.
    """

    erased: int
    busy: int


@dataclass(frozen=True, slots=True)
class Counts:
    """The store at a glance.

    Attributes:
        messages: webhooks by state.
        sends: by state.
        oldest: seconds that the oldest live message has waited; None when none is live.
        received: webhooks stored in the last minute.
        settled: messages settled in the last minute.
        unresolved: sends that have been unknown for ten minutes, and for less than a day.
        parked: seconds for which a message has been parked, the longest; None when none is.
    """

    messages: Mapping[State, int]
    sends: Mapping[SendState, int]
    oldest: float | None
    received: int
    settled: int
    unresolved: int = 0
    parked: float | None = None

    @property
    def unsent(self) -> int:
        """Replies that are still to be sent, or being sent."""
        return self.sends.get(SendState.PENDING, 0) + self.sends.get(SendState.SENDING, 0)


class Inbox(Protocol):
    """What operators see and do."""

    async def find(self, wanted: Filter) -> Sequence[Record]:
        """Return the messages that fit, newest first.

        With a state, a SID, or a sender and `Kind.MESSAGE`, the cost does not grow with what else
        is there; a sender alone, or a moment, may read all.
        """
        ...

    async def search(self, wanted: Filter, phrase: Phrase, *, within: int) -> Found:
        """Return up to `wanted.limit` messages that fit and whose text holds a phrase.

        It looks through no more than `within` of those that fit, the newest first: there is no
        index of what people wrote, for which every webhook would pay.
        """
        ...

    async def show(self, message_id: int) -> History | None:
        """Return a message with its attempts and sends, and what it waits behind."""
        ...

    async def replay(self, message_id: int) -> bool:
        """Put a settled or parked message at the tail of its lane; attempts count anew.

        One that waits for its next attempt keeps its place, and is due at once; its first attempt
        goes on counting. What goes before it in its lane still does.

        Sends that are sent or unknown stay, and are not repeated; failed and cancelled ones may
        be written again. Return False when the message is not in a state to be replayed, or is
        reduced.
        """
        ...

    async def drop(self, message_id: int) -> bool:
        """Discard a message that is not running. Return False when it can't be."""
        ...

    async def counts(self, *, unresolved_after: float = 600.0) -> Counts:
        """Return the store at a glance. The cost grows with the backlog, not with what is done.

        `unresolved_after` is how many seconds a send must have been unknown to be unresolved.
        """
        ...

    async def prune(self, retention: Retention, limit: int) -> int:
        """Delete up to `limit` messages, and as many dedupe keys, whose time is over.

        A message goes with its attempts and sends; its dedupe key stays. Live messages are never
        pruned, nor is one that still has a send pending or sending. Return how many rows
        of messages and keys went: call it until that is 0, with pauses, so that writers go on.
        """
        ...

    async def reduce(self, limit: int) -> int:
        """Take the texts out of up to `limit` messages that are done or discarded; return how many.

        What remains of a form is `core.privacy.essentials`; errors, and the texts of its sends, are
        emptied. A message with a send pending or sending has to wait; dead and parked ones keep
        all, for a replay needs it.
        """
        ...

    async def erase(self, address: str, limit: int) -> Erasure:
        """Delete up to `limit` messages, and as many sends, of a person.

        `core.privacy.spellings(address)` are one person: what they have sent, the statuses of what
        was sent to them, and all sends to them, with attempts, in any state but those in which
        somebody is at work. The sends of a live message go with it or not at all: when it runs
        (again), it finds in the ledger what must not be sent again. Dedupe keys are hashes, and
        stay: a repeat does not bring the message back. Call it until it finds nothing.
        """
        ...


class Store(Queue, Ledger, Inbox, Protocol):
    """Everything durable. One object serves one event loop."""

    @property
    def migrating(self) -> str:
        """Why `open` takes as long as it does, for people: a migration, which may take an hour.

        Empty when there is none, and when it is over.
        """
        ...

    async def open(self) -> None:
        """Connect, and bring the schema up to date, or wait until another process has done so.

        To cancel it undoes what was begun.

        Raises:
            StoreUnavailable: it can't be reached or written.
            SchemaTooNew: a newer offhook wrote it.
        """
        ...

    async def check(self) -> None:
        """Write something that changes nothing, as durably as a webhook.

        Raises:
            StoreUnavailable: it can't be written.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let go. May be called twice."""
        ...

    async def tidy(self) -> None:
        """Do what keeps the store fast. Called every second by workers; never blocks writers."""
        ...


@dataclass(frozen=True, slots=True)
class Spooled:
    """A webhook in a spool; `id` is its name there. The age of `inbound` is as of now."""

    id: int
    inbound: Inbound


class Spool(Protocol):
    """Keeps webhooks on this machine's disk while the store is unavailable, for all its processes.

    One object serves one event loop.
    """

    async def append(self, inbound: Inbound) -> bool:
        """Keep a webhook durably, until it is forgotten. Return False if it is kept already.

        Raises:
            StoreUnavailable: nothing was kept.
        """
        ...

    async def open(self) -> None:
        """Open the file; it is made if need be.

        Raises:
            StoreUnavailable: it can't be used.
            SchemaTooNew: a newer offhook wrote it.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let go. May be called twice."""
        ...

    def is_empty(self) -> bool:
        """Return whether the spool is known to hold nothing. Asked for each webhook; takes no time.

        Never true while it holds a webhook for which `append` has returned, in whichever process.
        """
        ...

    async def holds(self, lane: str) -> bool:
        """Return whether a webhook of a lane is in the spool. Finds out as well if it is empty.

        Raises:
            StoreUnavailable: it can't be read.
        """
        ...

    def lead(self) -> bool:
        """Return whether this process is the one that forwards; it becomes it if nobody is.

        It stays so until it closes the spool or dies, however it dies.
        """
        ...

    async def oldest(self, limit: int, *, without: Collection[str] = ()) -> Sequence[Spooled]:
        """Return the first webhooks in the order they came in, but for those of some lanes.

        Raises:
            StoreUnavailable: it can't be read.
        """
        ...

    async def forget(self, ids: Sequence[int]) -> None:
        """Delete webhooks which the store has now. Repeating it changes nothing.

        Raises:
            StoreUnavailable: nothing was deleted.
        """
        ...

    async def count(self) -> int:
        """Return how many webhooks wait in the spool.

        Raises:
            StoreUnavailable: it can't be read.
        """
        ...

    async def check(self) -> None:
        """Write to the disk, as for a webhook, but store nothing.

        Raises:
            StoreUnavailable: it can't be written.
        """
        ...

    async def tidy(self) -> None:
        """Do what keeps the file small and fast; never blocks writers."""
        ...


class Sender(Protocol):
    """The way out to Twilio."""

    async def send(self, claim: SendClaim) -> SendOutcome:
        """Ask Twilio to send a message, once. Tell what is known of the outcome; raises nothing.

        Never connected, 429, or too late (`SendClaim.leaves_by`): POSTPONE. An answer that refuses:
        REFUSE. A request that left and whose answer was not read, or a 5xx: LOSE.
        """
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...


class Admission(Enum):
    """Whether a sender's message is within the limit."""

    ADMITTED = auto()
    FIRST_EXCESS = auto()  # too many, and the person has not been told in this window
    EXCESS = auto()


class SenderLimit(Protocol):
    """Counts the messages of each sender, in windows of the time of receipt."""

    async def admit(self, account_sid: str, sender: str, received: float) -> Admission:
        """Count a message of a sender; say whether it is too many.

        Workers agree as far as they share a count. It answers within a tenth of a second, and
        raises nothing. Asked twice for a message, it counts it twice.
        """
        ...

    async def close(self) -> None:
        """Let go. May be called twice."""
        ...


class CachedVerdict(StrEnum):
    """What was found out about a request."""

    VALID = "valid"  # it is Twilio's, and the store has it
    REFUSED = "refused"  # it is not to be believed, and never will be as it is


class ValidationCacheEntry(NamedTuple):
    """What is remembered of one exact request.

    A named tuple, because one is made for each request (see `Request`).

    Attributes:
        answer: what it was answered, and is answered again.
        time: when, in seconds since the epoch.
        message_sid: Twilio's MessageSid; empty for what was not believed.
        sender: From, likewise.
    """

    verdict: CachedVerdict
    answer: Answer
    time: float
    message_sid: str = ""
    sender: str = ""


class ValidationCache(Protocol):
    """Requests that were answered, by fingerprint. It saves time and decides nothing.

    The store's unique keys are the only truth: a cache may forget anything at any moment. What it
    must not do is invent: an entry is only returned for the fingerprint it was put under, by this
    deployment, no longer ago than its time to live.
    """

    @property
    def secret(self) -> bytes:
        """Keys the fingerprints, see `core.fingerprint`."""
        ...

    def get(self, key: bytes) -> ValidationCacheEntry | None:
        """Return what this process remembers, at once."""
        ...

    def ask(self, key: bytes) -> Awaitable[ValidationCacheEntry | None] | None:
        """Ask other processes; return None when there is nobody to ask, or it is not worthwhile.

        The awaitable answers within 20 ms, with None when it can't be known. It raises nothing.
        """
        ...

    def put(self, key: bytes, entry: ValidationCacheEntry, *, repeat: bool = False) -> None:
        """Remember an answer that has been given. Never waits, and raises nothing.

        `repeat` says that the store knew the webhook, though `get` and `ask` did not.
        """
        ...

    async def start(self) -> None:
        """Connect, if there is anything to connect to. One that is away is no error."""
        ...

    async def close(self) -> None:
        """Let go. May be called twice."""
        ...
