"""What the services ask of the world: protocols whose docstrings are the contracts.

Adapters under `stores/` and `twilio/` keep them; `tests/conformance/` holds every store to them.
Times are seconds since the epoch, from the store's own clock; durations are seconds.
"""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery, SendState, SendTrigger, State, Trigger
from offhook.core.messages import Send


@dataclass(frozen=True, slots=True)
class Inbound:
    """A validated webhook on its way into the store.

    Attributes:
        form: the parameters as they came: a form's body, or a GET's query.
        notice_after: seconds from receipt until the person is told that it takes longer, unless
            the message has settled by then; None for never.
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


@dataclass(frozen=True, slots=True)
class Claim:
    """A message under a lease.

    Attributes:
        token: names this lease; every write of the run must carry it.
        attempt: which run this is, from 1. Crashes and interruptions are not counted.
        recent_sends: how many sends the lane has had in the claim's window.
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
    recent_sends: int = 0


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
    """

    claims: tuple[Claim, ...] = ()
    next_due: float | None = None
    suspects: bool = False
    buried: tuple[Overdue, ...] = ()


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
        error: for people: a traceback, or a reason.
        delay: with RETRY or INTERRUPT, the seconds until the next attempt.
        holds_lane: with RETRY, whether the lane waits with it.
        drafts: sends written in the same transaction.
        cancel_lane: cancel the lane's pending sends (the person has opted out).
    """

    trigger: Trigger
    error: str = ""
    delay: float = 0.0
    holds_lane: bool = True
    drafts: tuple[Draft, ...] = ()
    cancel_lane: bool = False


@dataclass(frozen=True, slots=True)
class SendClaim:
    """A send under a lease, in state `sending`: from here on it may have left."""

    id: int
    token: int
    message_id: int
    draft: Draft
    tries: int


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


class Queue(Protocol):
    """Messages in lanes, from accepted to settled."""

    async def accept(self, inbound: Inbound) -> bool:
        """Store a webhook durably, once. Return False when its key is known already.

        When it returns, the webhook has survived a power cut (fsync, or a commit of equal worth).
        Many calls share one commit. In a lane, the order of commits is the order of handling.

        Raises:
            StoreUnavailable: nothing was stored, or nothing that will be acknowledged.
        """
        ...

    async def claim(
        self, limit: int, *, lease: float, owner: str, alone: bool, window: float = 60.0
    ) -> Claimed:
        """Take up to `limit` messages, of different lanes, each the first of its lane.

        Lanes that have been due for longest come first. A lane whose lease has run out is due;
        its message, still running, has crashed once more: it is rescued, or buried, before
        anything is taken. A suspect (two crashes) is claimed only with `alone`, and then nothing
        else is. `window` is how far back, in seconds, a claim's `recent_sends` are counted. The
        cost grows with `limit`, not with the backlog.
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

    async def record_delivery(self, send_id: int | None, sid: str, reported: Delivery) -> bool:
        """Take over what a status callback says; never backwards. Return whether a send is meant.

        With an id, a send still `sending` or `unknown` becomes `sent`.
        """
        ...


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run of a handler that did not complete, or a decision on a message."""

    number: int
    started: float | None
    ended: float
    trigger: Trigger
    error: str


@dataclass(frozen=True, slots=True)
class Record:
    """A message as people look at it."""

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
    error: str
    form: bytes


@dataclass(frozen=True, slots=True)
class History:
    """A message with all that happened to it."""

    record: Record
    attempts: tuple[Attempt, ...]
    sends: tuple[Send, ...]


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
class Counts:
    """The store at a glance.

    Attributes:
        oldest: seconds that the oldest live message has waited; None when none is live.
        received: webhooks stored in the last minute.
        settled: messages settled in the last minute.
    """

    messages: Mapping[State, int]
    sends: Mapping[SendState, int]
    oldest: float | None
    received: int
    settled: int


class Inbox(Protocol):
    """What operators see and do."""

    async def find(self, wanted: Filter) -> Sequence[Record]:
        """Return the messages that fit, newest first."""
        ...

    async def show(self, message_id: int) -> History | None:
        """Return a message with its attempts and sends."""
        ...

    async def replay(self, message_id: int) -> bool:
        """Put a settled or parked message at the tail of its lane; attempts count anew.

        Sends that are sent or unknown stay, and are not repeated; failed and cancelled ones may
        be written again. Return False when the message is not in a state to be replayed.
        """
        ...

    async def drop(self, message_id: int) -> bool:
        """Discard a message that is not running. Return False when it can't be."""
        ...

    async def counts(self) -> Counts:
        """Return the store at a glance."""
        ...


class Store(Queue, Ledger, Inbox, Protocol):
    """Everything durable. One object serves one event loop."""

    async def open(self) -> None:
        """Connect, and bring the schema up to date.

        Raises:
            StoreUnavailable: it can't be reached or written.
            SchemaTooNew: a newer offhook wrote it.
        """
        ...

    async def close(self) -> None:
        """Finish what was begun and let go. May be called twice."""
        ...

    async def tidy(self) -> None:
        """Do what keeps the store fast. Called every second by workers; never blocks writers."""
        ...


class Sender(Protocol):
    """The way out to Twilio."""

    async def send(self, claim: SendClaim) -> SendOutcome:
        """Ask Twilio to send a message, once. Tell what is known of the outcome; raises nothing.

        Never connected, or 429: POSTPONE. An answer that refuses: REFUSE. A request that left and
        whose answer was not read, or a 5xx: LOSE.
        """
        ...

    async def close(self) -> None:
        """Let go of the connections."""
        ...
