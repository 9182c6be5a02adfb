"""The contract of a store: protocols whose docstrings say what every store guarantees.

`tests/conformance/` holds all stores to it. Times are seconds since the epoch, by the wall clock as
it is set now; durations are seconds. A store goes by a time of its own, which moves on evenly
whatever that clock is set to.
"""

import asyncio
import math
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol, TypeVar

from offhook.core.cost import UNKNOWN, Cost, Spending
from offhook.core.inbound import Inbound
from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery, SendState, SendTrigger, State, Trigger
from offhook.core.loop_detection import LoopRule
from offhook.core.messages import Send, Template
from offhook.core.reasons import Error
from offhook.core.search import Phrase
from offhook.core.turns import Turn
from offhook.core.unknown_sends import Unknown, Verdict
from offhook.errors import StoreError


@dataclass(frozen=True, slots=True)
class SavedState:
    """What handlers have stored of a conversation.

    Attributes:
        value: as JSON.
        version: the token of the run that has saved it.
        age: seconds since it was last used: saved, or read more than a day after that.
    """

    value: bytes
    version: int
    age: float


@dataclass(frozen=True, slots=True)
class Claim:
    """A message under a lease.

    Attributes:
        token: names this lease; every write of the run must carry it.
        attempt: which run this is, from 1. Crashes and interruptions are not counted.
        turns: how many of our replies to its sender were answered at a program's pace of late; none
            unless it is such an answer itself.
        replayed: an operator has put it back into its lane.
        state: of its conversation; None for none.
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
    state: SavedState | None = None


@dataclass(frozen=True, slots=True)
class Overdue:
    """A message whose sender is owed a notice, with its addresses."""

    id: int
    account_sid: str
    sender: str
    recipient: str


@dataclass(frozen=True, slots=True)
class Claimed:
    """The result of one claim.

    Attributes:
        next_due: seconds until something falls due that was not claimed; None when nothing waits.
        suspects: True when a message waits that must run alone.
        buried: inbound messages that this claim has made dead, after their last crash.
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
        fallback: the template that takes its place outside of WhatsApp's window.
        fallback_identity: of the send that does; the same for all parts of a text.
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
    fallback: Template | None = None
    fallback_identity: str = ""


@dataclass(frozen=True, slots=True)
class Settlement:
    """The outcome of a run.

    Attributes:
        trigger: COMPLETE, DISCARD, RETRY, GIVE_UP, INTERRUPT or PARK.
        error: the reason why it is not done; empty when it is.
        delay: with RETRY or INTERRUPT, the seconds until the next attempt.
        holds_lane: with RETRY, whether the lane waits with it.
        drafts: sends written in the same transaction.
        cancel_lane: cancel the lane's pending sends (the person has opted out).
        state: of the conversation, to be saved in the same transaction; empty to be deleted, None
            to be left as it is.
    """

    trigger: Trigger
    error: Error = ""
    delay: float = 0.0
    holds_lane: bool = True
    drafts: tuple[Draft, ...] = ()
    cancel_lane: bool = False
    state: bytes | None = None


@dataclass(frozen=True, slots=True)
class SendRequest:
    """Sends that answer no message.

    Attributes:
        lane: of the conversation.
        drafts: one, or the parts of a long text.
        key: names it for good; empty for one that is never a repeat.
        delay: seconds until they are due; until then they are not in the lane.
        unless_reply: cancel what has not left when the recipient writes.
    """

    lane: str
    drafts: tuple[Draft, ...]
    key: str = ""
    delay: float = 0.0
    unless_reply: bool = False


@dataclass(frozen=True, slots=True)
class SendClaim:
    """A send under a lease, in state `sending`: from here on it may have left.

    Attributes:
        message_id: of the message it answers; 0 for none.
        message_sid: the MessageSid of that message.
        leaves_by: its request is sent by then or not at all: seconds of `clock.elapsed`.
        fell_back: why the fallback is sent instead of the text; empty if it is not.
    """

    id: int
    token: int
    message_id: int
    draft: Draft
    tries: int
    message_sid: str = ""
    leaves_by: float = math.inf
    fell_back: Error = ""


@dataclass(frozen=True, slots=True)
class ClaimedSends:
    """The result of one claim of sends.

    Attributes:
        next_due: seconds until a send falls due that was not claimed; None when none is pending.
    """

    claims: Sequence[SendClaim] = ()
    next_due: float | None = None


@dataclass(frozen=True, slots=True)
class SendOutcome:
    """The outcome of a send.

    Attributes:
        trigger: ACCEPT, REFUSE, POSTPONE or LOSE.
        delay: with POSTPONE, the seconds until it is tried again.
        sid: with ACCEPT, Twilio's MessageSid.
        status: with ACCEPT, the status Twilio gave it.
        error_code: Twilio's, where it gave one.
        error: for people.
        cost: what it costs, as far as that is known; 0 segments if it was not sent.
    """

    trigger: SendTrigger
    sid: str = ""
    status: str = ""
    error_code: str = ""
    error: str = ""
    delay: float = 0.0
    cost: Cost = UNKNOWN


@dataclass(frozen=True, slots=True)
class Inquiry:
    """Unknown sends to one person, for which Twilio's message list is to be read.

    Attributes:
        recipients: the addresses under which the list has messages to the person.
        sends: all of them; some have not been unknown for long.
        witnesses: SIDs of messages that the list has if nothing is missing in it.
    """

    account_sid: str
    recipients: tuple[str, ...]
    sends: tuple[Unknown, ...]
    witnesses: frozenset[str] = frozenset()


W_contra = TypeVar("W_contra", contravariant=True)
"""A webhook: as it came (`core.inbound.Webhook`), or as a store takes it (`Inbound`)."""

Append = Callable[[W_contra], Awaitable[bool]]
"""Stores a webhook, or a request that is yet to be verified; contract and errors as of `Intake`."""


class Intake(Protocol[W_contra]):
    """Accepts webhooks."""

    def accept(self, webhook: W_contra, /) -> Awaitable[bool]:
        """Store a webhook durably, once. Return False when its key is known already.

        To be awaited at once: a future or a coroutine, whichever costs the store less.

        When it returns, the webhook has survived a power cut (fsync, or a commit of equal worth).
        Many calls share one commit. In a lane, the order of commits is the order of handling.

        A webhook that names an alias (`Inbound.alias`) beside its lane makes the two one from then
        on: what waits in the alias's lane is moved into the other, in the order of receipt, with
        its sends; while something runs in one of them, nothing else of both is claimed.

        Raises:
            StoreUnavailable: nothing was stored, or nothing that will be acknowledged.
            BacklogFull: nothing was stored: too many wait already.
        """
        ...


class Entrance(Intake[W_contra], Protocol[W_contra]):
    """Accepts webhooks, and answers what admission depends on."""

    async def knows(self, webhook: W_contra, /) -> bool:
        """Return whether a webhook's key is known already. Reads only."""
        ...

    async def backlog(self, at_most: int) -> int:
        """Count the live messages, as far as `at_most`. The cost grows with `at_most` only."""
        ...


class Overtaken(StoreError):  # noqa: N818 - named after what is the case, as all of ours
    """Another process has sorted what was to be sorted."""


class Sorting(Protocol):
    """Takes in what the arrivals logs of a machine hold."""

    def now(self) -> int:
        """Return the store's time in nanoseconds, on which all processes agree."""
        ...

    async def positions(self) -> Mapping[bytes, int]:
        """Return how far the logs have been read, by their names."""
        ...

    async def sort(
        self,
        arrived: Sequence[tuple[Inbound, int]],
        positions: Mapping[bytes, int],
        before: Mapping[bytes, int],
    ) -> Sequence[bool]:
        """Store webhooks in the order given, each with the moment of its receipt, once.

        In the same transaction it is noted how far the logs have been read, so that nothing is
        sorted twice, nor left out, whenever the process dies.

        Args:
            arrived: what was read from the logs; the moments are of `now`, in nanoseconds.
            positions: how far they have been read, by their names.
            before: how far they had been, when the reading began.

        Returns:
            For each whether it was new.

        Raises:
            Overtaken: another process has sorted meanwhile; nothing was stored.
            StoreUnavailable: nothing was stored.
            StoreError: nothing was stored: one of the webhooks is refused.
        """
        ...


class Queue(Entrance[Inbound], Protocol):
    """Messages in lanes, from accepted to settled."""

    async def accept_all(self, inbounds: Sequence[Inbound]) -> Sequence[bool]:
        """Store webhooks in the order given, each once, all of them or none.

        Returns:
            For each whether it was new.

        Raises:
            StoreUnavailable: nothing was stored, or it is not known.
            StoreError: nothing was stored: one of them is refused.
        """
        ...

    async def claim(
        self, limit: int, *, lease: float, owner: str, alone: bool, loop: LoopRule | None = None
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
        changes nothing and raises nothing. The conversation's state is saved if it is the one that
        was claimed: one that has been erased meanwhile is not brought back.

        Raises:
            LeaseLost: another run has the message, or had it.
            StoreUnavailable: nothing was written.
        """
        ...

    async def release(self, owner: str) -> int:
        """Expire the leases of a worker that is known to be dead; return how many.

        Its messages are then rescued as those of any expired lease.
        """
        ...

    async def hand_back(self, owner: str, held: Collection[int]) -> int:
        """End those leases of `owner` that it does not hold; return how many.

        There are some if the answer to a claim was lost. No handler has run: the messages are open
        again, and neither an attempt nor a crash is counted. Leases on sends are left alone.

        Args:
            owner: has no claim under way.
            held: the tokens of all messages that it is running.
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

    async def claim_sends(self, limit: int, *, lease: float, owner: str) -> ClaimedSends:
        """Take up to `limit` sends, of different lanes, each the first of its lane.

        A send still `sending` under a lease that ran out may have left: it becomes `unknown`, and
        holds nothing up.

        A send with a fallback becomes the template if its recipient's last message to its sender
        is older than `whatsapp_window.WINDOW`, or if the store has none. Other parts of the same
        text are `replaced`: of a text, the template leaves once.
        """
        ...

    async def hand_back_sends(self, owner: str, held: Collection[int]) -> int:
        """End those leases of `owner` on sends that it does not hold. As `Queue.hand_back`.

        Such a send has not left: it is pending again, and not `unknown`.
        """
        ...

    async def settle_send(self, claim: SendClaim, outcome: SendOutcome) -> None:
        """Record the outcome of a send. Many calls share one commit.

        A status callback that came first is not overwritten. A send whose lease has run out is
        `unknown` by now; ACCEPT still makes it sent, and nothing else changes it. POSTPONE cancels
        a send that is no longer wanted (see `settle_unknown`). Repeating a call changes nothing. A
        refusal with a code of `whatsapp_window.CLOSED` has the fallback sent, as `record_delivery`
        has.

        Raises:
            StoreUnavailable: nothing was written.
        """
        ...

    async def next_send_due(self) -> float | None:
        """Return the seconds until a send falls due, None when none is pending. Reads only."""
        ...

    async def record_delivery(
        self, send_id: int | None, sid: str, reported: Delivery, *, account_sid: str
    ) -> bool:
        """Apply a status callback, never backwards. Return whether it refers to a send.

        With an id, a send still `sending` or `unknown`, or `pending` once more, becomes `sent`,
        and its lane goes on. One that was not delivered becomes `undelivered`. A callback never
        refers to a send of another account than the one that signed it.

        If it was not delivered because of `whatsapp_window.CLOSED`, and has a fallback that has
        not been sent, it is `replaced` in the same transaction by a send of the template, at the
        tail of its lane. A fallback has none itself.
        """
        ...

    async def claim_unknown(self, *, lease: float) -> Inquiry | None:
        """Take the unknown sends to the person to whom one has been due longest; None if none is.

        A send is due `FIRST_LOOK` seconds after it became unknown, then when its last verdict says,
        and not any more after `LOOKED_FOR` seconds. For `lease` seconds nobody else gets these.
        """
        ...

    async def known_sids(self, inquiry: Inquiry, sids: Sequence[str]) -> frozenset[str] | None:
        """Return which SIDs belong to sends of the account.

        None when something else to the person is being sent, or is unknown: its message may be in
        a list, and nothing tells whose it is. Called once the list has been read.
        """
        ...

    async def settle_unknown(self, verdicts: Sequence[Verdict]) -> Mapping[int, SendTrigger]:
        """Record the verdicts on sends that were not found; return what happened, by send.

        REPEAT makes a send pending again, unless it has been repeated `REPEATS` times (GIVE_UP), or
        is no longer wanted (WITHDRAW). The latter is what was being sent, or unknown, when its
        person opted out or wrote first (`unless_reply`), or an operator cancelled another part of
        its request; what was sent when its person opted out, and still has a fallback; and a slow
        notice of a message that has settled. With MISSING, the store remembers since when it has
        been missing; with UNCERTAIN, it forgets. What is not unknown any more, or was claimed anew,
        is left alone.

        Raises:
            StoreUnavailable: nothing was written.
        """
        ...


class Requests(Protocol):
    """Sends that answer no message: at once, or at a time that is up to a year ahead.

    A scheduled send is at rest until it falls due. Then it joins its lane, behind the sends that
    wait there.
    """

    async def request(self, request: SendRequest) -> tuple[Send, ...]:
        """Write the sends of a request, durably. A known key returns the first's, as `repeated`.

        A key belongs to the account of the drafts. It is known for as long as dedupe keys are kept,
        from when its sends were due; of sends that have been deleted by then, one without a text
        is returned, in state `unknown`.

        With `unless_reply`, what has not left is cancelled in the transaction that stores a new
        message of the recipient's to the sender, or, if that is a Messaging Service, to any number.

        Raises:
            StoreUnavailable: nothing was written, or it is not known; with a key, try again.
        """
        ...

    async def next_request_due(self) -> float | None:
        """Return the seconds until a scheduled send falls due, None when none is scheduled."""
        ...

    async def start_due(self, limit: int, *, sorted_until: int | None = None) -> int:
        """Have scheduled sends join their lanes that are due; return of how many requests.

        One whose lane has something to send gets another number, which puts it behind that. Any
        number of workers may do so at once: each send joins once.

        Args:
            limit: requests in one call.
            sorted_until: the moment, of `Sorting.now`, before which everything is sorted in that
                has been received. Those that a message cancels wait for it; None if they need not.
        """
        ...

    async def sent_as(self, sid: str, *, account_sid: str) -> Send | None:
        """Return the send that Twilio has given a MessageSid; None for one that is not ours."""
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
    """A message as operators see it.

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
    """A message that later ones of its conversation wait for.

    Attributes:
        due: the time of its next attempt, if it waits for one.
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
    """A message with its attempts and sends.

    Attributes:
        behind: the message that goes first, if this one waits for its turn.
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
    """The result of a search for words.

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
        states: states of conversations, from when they were last used.
    """

    settled: float
    dead: float
    parked: float
    keys: float
    states: float = 365 * 86_400.0


@dataclass(frozen=True, slots=True)
class Erasure:
    """The result of one call that erases a person's messages.

    Attributes:
        erased: messages, sends and states of conversations that are gone.
        busy: those found that are running or being sent, and sends of messages that stay and may
            run again; they can go when that has ended.
    """

    erased: int
    busy: int


@dataclass(frozen=True, slots=True)
class SendRecord:
    """A send as operators see it.

    Attributes:
        message_id: of the message that it answers; 0 for none.
        sender: the number it comes from, or a Messaging Service SID.
        created: when it was written.
        settled: when it reached its state; None while it is to be sent.
        due: the time that it is scheduled for, or of its next try, if it waits for one.
        delivery: the last status that Twilio reported; empty for none.
        error_code: Twilio's, where it gave one.
        content_sid: the content template as which it is sent; empty for a text.
        fell_back: why it is sent as the template instead of the text; empty if it is not.
    """

    id: int
    message_id: int
    identity: str
    state: SendState
    account_sid: str
    sender: str
    to: str
    body: str
    created: float
    due: float
    tries: int
    settled: float | None
    sid: str
    delivery: str
    error_code: str
    error: Error
    content_sid: str = ""
    fell_back: Error = ""


@dataclass(frozen=True, slots=True)
class SendFilter:
    """Which sends to list; all that is given must fit. Newest first.

    Attributes:
        delivery: the status that Twilio reported last.
        code: Twilio's error code.
        sender: the number they come from, or a Messaging Service SID.
        to: the recipient, as written in the ledger.
        account: the SID of the account that sends them.
        since, until: of when they were written.
    """

    state: SendState | None = None
    delivery: str = ""
    code: str = ""
    sender: str = ""
    to: str = ""
    since: float | None = None
    until: float | None = None
    before_id: int | None = None
    limit: int = 50
    account: str = ""


MOST_COUNTED: Final = 1_000
"""Replies of each state that are looked at for `Counts.shortfalls`: a few ms of a query."""


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
        oldest_send: seconds for which the first reply has waited that might have been sent by now;
            None when none waits.
        shortfalls: replies that did not reach anybody, by state and by Twilio's code: those that
            are pending although they have been tried, of each conversation the first, those that
            failed, and those that were not delivered. Of each state the latest `MOST_COUNTED`.
        unanswered: people with a message that has settled, to which a reply was written, and none
            has reached them so far, nor is on its way. Of the same replies.
    """

    messages: Mapping[State, int]
    sends: Mapping[SendState, int]
    oldest: float | None
    received: int
    settled: int
    unresolved: int = 0
    parked: float | None = None
    oldest_send: float | None = None
    shortfalls: Mapping[tuple[SendState, str], int] = field(default_factory=dict)
    unanswered: int = 0

    @property
    def unsent(self) -> int:
        """Replies that are still to be sent, or being sent."""
        return self.sends.get(SendState.PENDING, 0) + self.sends.get(SendState.SENDING, 0)


class Inbox(Protocol):
    """Shows messages to operators, and carries out their decisions."""

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

        Sends that are sent or unknown stay, and are not repeated; those that failed, were not
        delivered or were cancelled may be written again, and the first two are `replaced` then.
        So may one that was sent again in vain (`Outbox.retry_send`), unless one of its replacements
        may have arrived. Return False when the message is not in a state to be replayed, or is
        reduced.
        """
        ...

    async def drop(self, message_id: int) -> bool:
        """Discard a message that is not running. Return False when it can't be."""
        ...

    async def counts(self, *, unresolved_after: float = 600.0) -> Counts:
        """Return the store at a glance.

        The cost grows with the backlog and with what did not arrive, not with what is done: 50,000
        undelivered sends take some 15 ms.

        `unresolved_after` is how many seconds a send must have been unknown to be unresolved.
        """
        ...

    async def prune(self, retention: Retention, limit: int) -> int:
        """Delete up to `limit` messages, and as many dedupe keys, whose time is over.

        A message goes with its attempts and sends; its dedupe key stays. Live messages are never
        pruned, nor is one that still has a send pending or sending. Requests are pruned as settled
        messages are, from when they were due; states of conversations, unless a message of theirs
        is live. Return how many rows of messages, requests, states and keys went: call it until
        that is 0, with pauses, so that writers go on.
        """
        ...

    async def reduce(self, limit: int) -> int:
        """Take the texts out of up to `limit` messages that are done or discarded; return how many.

        What remains of a form is `core.privacy.essentials`; errors, and the texts of its sends, are
        emptied. A message with a send pending or sending has to wait, or with one that may still
        be looked up; dead and parked ones keep all, for a replay needs it. So are the texts of
        requests of which nothing is to be sent or looked up.
        """
        ...

    async def erase(self, address: str, limit: int) -> Erasure:
        """Delete up to `limit` messages, and as many sends, of a person.

        `addresses_of(address)` are one person: what they have sent, the statuses of what
        was sent to them, and all sends to them, with attempts, in any state but those in which
        work is under way; and the states of their conversations, which a run that is under way
        does not bring back. The sends of a live message go with it or not at all: when it runs
        (again), it finds in the ledger what must not be sent again. Dedupe keys are hashes, and
        stay: a repeat does not bring the message back. Call it until it finds nothing:
        then it also forgets which addresses they were.
        """
        ...


@dataclass(frozen=True, slots=True)
class TurnFilter:
    """Which turns of a conversation are wanted.

    Attributes:
        lane: of the conversation.
        persons: the addresses of the person; what went to others is none of theirs.
        limit: how many; `MOST` at most.
        asking: a message: it is left out with its own sends, and so is what waits beside it.
    """

    lane: str
    persons: Sequence[str]
    limit: int = 20
    asking: int | None = None


class Conversations(Protocol):
    """Shows what was said in a conversation, and what is stored of it. Reads only."""

    async def turns(self, wanted: TurnFilter) -> Sequence[Turn]:
        """Return the last turns that have a text or media, by time, the oldest first.

        Of what was sent, those turns that have left, or may have, or are to leave as soon as
        possible: not what was refused or not delivered, cancelled, replaced, or is scheduled. Texts
        that have been taken out are left out. The cost does not grow with the conversation: it is
        looked for among the newest `LOOKED_THROUGH` messages of each address, and as many sends.
        """
        ...

    async def saved_state(self, lane: str) -> SavedState | None:
        """Return the state of a conversation; None for none."""
        ...

    async def addresses_of(self, address: str) -> Sequence[str]:
        """Return all addresses of a person, that given first.

        These are `core.privacy.spellings`, the user ids that were seen with a number, and the
        numbers that were seen with a user id, in any conversation. Reads only.
        """
        ...


class Outbox(Protocol):
    """Shows sends to operators, and carries out their decisions. It runs no handler."""

    async def find_sends(self, wanted: SendFilter) -> Sequence[SendRecord]:
        """Return the sends that fit, newest first.

        With a state other than `sent`, the cost does not grow with what was sent.
        """
        ...

    async def spending(self, since: float, limit: int) -> Spending:
        """Return what the sends that were written since a moment cost, if Twilio accepted them.

        Of the conversations, `limit` are returned. Reads all sends: there is no index that only
        this would need.
        """
        ...

    async def show_send(self, send_id: int) -> SendRecord | None:
        """Return a send."""
        ...

    async def retry_send(self, send_id: int, *, unknown: bool = False) -> int | None:
        """Have a send's text sent (again); return the number under which it will be.

        One that is pending is due at once, and one that failed is pending again: both keep number
        and place in their lane, and their tries count anew. One that was not delivered was
        accepted by Twilio: it is `replaced` by another send, at the tail of its lane. So is an
        unknown one, but only with `unknown`: the person may have had it. What goes before it in its
        lane still does. A replaced send can't be retried, so that each is sent once more at most.

        Return None when its state does not allow that, it is no longer wanted (see
        `Ledger.settle_unknown`), or its text was not kept.
        """
        ...

    async def cancel_send(self, send_id: int) -> bool:
        """Withdraw a send that is pending, or leave one unsent that failed or was not delivered.

        So is one that is scheduled. The other parts of its request go with it, as far as they have
        not left; one that is being sent is no longer wanted. Return False when its state does not
        allow that.
        """
        ...


class Presence(Protocol):
    """Tells workers that live from dead ones, whose leases need not run out."""

    async def join(self, owner: str) -> None:
        """Show from now on that the worker of this process lives. Called once, before it claims.

        What shows it ends with the process, however that ends, but not while it is merely stopped.
        Where nothing can show it, the worker is never taken for dead.

        Args:
            owner: names it in leases.
        """
        ...

    async def leave(self) -> None:
        """Show it no longer: the worker has no leases left. May be called twice."""
        ...

    async def release_dead(self) -> int:
        """Release the leases of workers that had joined and are dead; return how many.

        A worker is dead once it is certain, or has not shown for some seconds, that it lives; so
        call it twice a second. A worker that is taken for dead by mistake has lost its leases: it
        can neither settle nor send.

        Raises:
            StoreDenied: it lacks the privileges; the server is asked again after some minutes.
            StoreUnavailable: not all have been released.
        """
        ...


class Store(Queue, Ledger, Requests, Inbox, Conversations, Outbox, Presence, Protocol):
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
        """Finish what was begun, and close. May be called twice."""
        ...

    async def tidy(self) -> None:
        """Do what keeps the store fast. Called every second by workers; never blocks writers."""
        ...
