"""Replies on their way out: written to the ledger, and from there sent to Twilio."""

import asyncio
import time
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from dataclasses import replace
from functools import partial
from typing import Final

from offhook.clock import elapsed
from offhook.core.calls import Call
from offhook.core.messages import Reply, Send
from offhook.core.reasons import Cause
from offhook.errors import LeaseLost, NotAwaited, NotRunning, StoreUnavailable
from offhook.events import Observer, Problem, Sent, Topic
from offhook.ports import Claim, Draft, Ledger, SendClaim, Sender, Store
from offhook.settings import Settings
from offhook.stores.availability import StoreWatch, woken
from offhook.worker.drafts import ReturnAddress, drafts_of

MAX_SENDING: Final = 50
"""Concurrent requests to Twilio from one process; its REST API answers 429 (error 20429) to an
account with too many."""

MIN_SEND_LEASE: Final = 30.0
"""Seconds, at least, until a send is `unknown`; requests time out well before."""

_PAUSE: Final = 0.01
"""Seconds between two claims, unless the first took all it could: what falls due meanwhile is
claimed in one transaction."""

_LEAVES_WITHIN: Final = 0.5
"""Of a send's lease. The other half is for the request: the next of the lane is sent when the lease
has expired, and a process may be stopped at any moment."""

_WHAT: Final = "message.reply"
_LINES: Final = 3  # that an error names
_GONE: Final = "the worker of this run has ended: the reply was not written"

_GRACE: Final = 5.0  # seconds for running requests after the deadline of `stop`


class LedgerReplier:
    """Writes the replies of one run to the ledger, while the run lasts.

    Replies are numbered in the order in which they are begun, so a repeated attempt finds those of
    the attempt before and writes none twice.

    May be used on any thread: a `def` handler's, and threads that it starts.

    Args:
        store: of the running event loop.
        claim: the run's; every write carries its token.
        address: where replies go by default.
        observer: called when a repeated attempt writes another text than the first, and with
            replies that were never awaited.
    """

    def __init__(
        self, store: Ledger, claim: Claim, address: ReturnAddress, observer: Observer
    ) -> None:
        self.address = address
        self._store = store
        self._claim = claim
        self._observer = observer
        self._loop = asyncio.get_running_loop()
        self._next = 0
        self._calls: list[Call[Send]] = []
        self._writing = 0
        self._written = asyncio.Event()
        self._ended: LeaseLost | NotRunning | None = None

    def end(self, reason: LeaseLost | NotRunning) -> None:
        """Refuse all further replies: the run is over, although its code may still run."""
        self._ended = self._ended or reason

    async def finish(self) -> None:
        """Wait for the replies that are being written, after the handler has returned.

        Raises:
            NotAwaited: naming the lines of replies that were never awaited.
        """
        if not all(call.begun for call in self._calls):
            await asyncio.sleep(0)  # those wrapped in tasks begin now
        while self._writing:
            self._written.clear()
            await self._written.wait()
        lines = tuple(dict.fromkeys(call.where for call in self._calls if not call.begun))
        if lines:
            error = NotAwaited(*lines[:_LINES])
            text = f"message {self._claim.id}: {Cause.NOT_AWAITED(error.where)}"
            self._observer(Problem(Topic.REPLY_NOT_AWAITED, text))
            raise error

    def reply(self, reply: Reply, key: str | None, where: str) -> Call[Send]:
        """Write a reply to the ledger; return its send, the last one of a long text.

        When awaited, or at once in a thread without an event loop.

        Raises:
            LeaseLost: another run has the message now.
            NotRunning: this run is over.
            StoreUnavailable: nothing was written.
        """
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return Call.done(self._wait(self._from_thread(reply, key))[-1], _WHAT, where)
        call = Call(partial(self._reply, reply, key), _WHAT, where)
        self._calls.append(call)
        return call

    async def _reply(self, reply: Reply, key: str | None) -> Send:
        if asyncio.get_running_loop() is self._loop:
            return (await self._write(reply, key))[-1]
        return (await asyncio.wrap_future(self._from_thread(reply, key)))[-1]

    def _from_thread(self, reply: Reply, key: str | None) -> Future[tuple[Send, ...]]:
        writing = self._write(reply, key)
        try:
            return asyncio.run_coroutine_threadsafe(writing, self._loop)
        except RuntimeError:  # the loop is closed
            writing.close()
            raise NotRunning(_GONE) from None

    def _wait(self, writing: Future[tuple[Send, ...]]) -> tuple[Send, ...]:
        try:
            return writing.result()
        except CancelledError:  # the loop is ending
            raise NotRunning(_GONE) from None

    async def _write(self, reply: Reply, key: str | None) -> tuple[Send, ...]:
        self._writing += 1
        try:
            return await self._write_once(reply, key)
        finally:
            self._writing -= 1
            self._written.set()

    async def _write_once(self, reply: Reply, key: str | None) -> tuple[Send, ...]:
        if self._ended is not None:
            raise type(self._ended)(*self._ended.args)
        number = self._next
        if key is None:
            self._next += 1
        drafts = drafts_of(reply, f"reply:{number}" if key is None else f"key:{key}", self.address)
        try:
            sends = await self._store.write(self._claim, drafts)
        except StoreUnavailable:
            # A handler that repeats the reply must get the same number, or the next attempt, with
            # the store available, would send it twice.
            if key is None and self._next == number + 1:
                self._next = number
            raise
        self._compare(drafts, sends)
        return sends

    def _compare(self, drafts: Sequence[Draft], sends: Sequence[Send]) -> None:
        for draft, send in zip(drafts, sends, strict=True):
            if send.repeated and send.body != draft.body:
                text = (
                    f"attempt {self._claim.attempt} of message {self._claim.id} has another text "
                    f"for {draft.identity} than an earlier attempt, whose text is kept"
                )
                self._observer(Problem(Topic.REPLY_DIFFERS, text))


class SendLoop:
    """Sends the ledger's replies through Twilio.

    Args:
        store: open, and of this event loop.
        sender: sends; closed by the caller.
        settings: `lease` is used.
        observer: called with every try.
        owner: names this process in the leases.
    """

    def __init__(
        self, store: Store, sender: Sender, settings: Settings, observer: Observer, *, owner: str
    ) -> None:
        self._store = store
        self._sender = sender
        self._lease = max(settings.lease, MIN_SEND_LEASE)
        self._observer = observer
        self._owner = owner
        self._watch = StoreWatch(observer, "replies are not sent")
        self._work = store.listen()
        self._sending: dict[int, asyncio.Task[None]] = {}  # by token
        self._unsure = False  # whether a claim may have been made whose answer was lost
        self._adrift: set[int] = set()  # tokens of sends that may have left, and were not settled
        self._stop_at: float | None = None

    def stop(self, deadline: float) -> None:
        """Let `run` return once what is due is sent, starting nothing after `deadline` seconds.

        Requests that run by then get five seconds more: a cancelled one would be `unknown` until
        its status callback.
        """
        stop_at = time.monotonic() + deadline
        self._stop_at = stop_at if self._stop_at is None else min(stop_at, self._stop_at)
        self._work.set()

    async def run(self) -> None:
        """Send until `stop` is called; wait for a store that is unavailable.

        Raises:
            StoreBroken: the store does not come back by itself.
        """
        try:
            while self._stop_at is None:
                self._work.clear()
                await woken(self._work, await self._begin())
                self._watch.end_if_broken()
            await self._finish()
        finally:
            for task in self._sending.values():
                task.cancel()

    async def _begin(self) -> float | None:
        """Begin all sends that are due; return the seconds until the next is."""
        free = MAX_SENDING - len(self._sending)
        if not free:
            return None
        try:
            if self._unsure:
                await self._store.hand_back_sends(self._owner, {*self._sending, *self._adrift})
                self._unsure = False
            # Most wake-ups are for others. To look keeps nobody waiting; a claim may be in the way
            # of webhooks even if it finds nothing.
            due = await self._store.next_send_due()
            claims: Sequence[SendClaim] = ()
            began = elapsed()
            if due == 0.0:
                claims = await self._store.claim_sends(free, lease=self._lease, owner=self._owner)
        except StoreUnavailable as error:
            self._unsure = True
            self._watch.away(error)
            self._work.clear()  # nor does what could be written meanwhile make it try at once
            return None
        self._watch.back()
        for claim in claims:
            self._start(replace(claim, leaves_by=began + _LEAVES_WITHIN * self._lease))
        # With all hands full, the first that is done looks again.
        if len(claims) == free:
            return None
        if claims:
            await asyncio.sleep(_PAUSE)
        return due

    def _start(self, claim: SendClaim) -> None:
        task = asyncio.create_task(self._send(claim), name=f"send {claim.id}")
        self._sending[claim.token] = task
        task.add_done_callback(partial(self._done, claim))

    def _done(self, claim: SendClaim, task: asyncio.Task[None]) -> None:
        del self._sending[claim.token]
        self._work.set()  # the next of its lane may go now
        if task.cancelled() or (error := task.exception()) is None:
            return
        # A mistake of ours. The lease runs out, and the send is unknown: it may have left, so it
        # must not be handed back as one that has not.
        self._adrift.add(claim.token)
        text = f"send {claim.id} could not be settled, and will be unknown: {type(error).__name__}"
        self._observer(Problem(Topic.SEND_FAILED, text))
        task.get_loop().call_exception_handler({"message": text, "exception": error, "task": task})

    async def _send(self, claim: SendClaim) -> None:
        began = time.monotonic()
        outcome = await self._sender.send(claim)
        took = time.monotonic() - began
        try:
            await self._watch.persist(lambda: self._store.settle_send(claim, outcome))
        except LeaseLost:
            text = f"send {claim.id} took {took:.1f} s, longer than its lease"
            self._observer(Problem(Topic.LEASE_LOST, text))
        self._observer(
            Sent(
                claim.id,
                claim.message_id,
                claim.draft.identity,
                outcome.trigger,
                took,
                outcome.sid,
                outcome.error,
                claim.message_sid,
            )
        )

    async def _finish(self) -> None:
        while (left := self._left()) > -_GRACE:
            self._work.clear()
            # Asked before the claim: a send that ends during it lets the next of its lane go.
            was_idle = not self._sending
            if left > 0:
                await self._begin()
            if was_idle and not self._sending:
                return
            await woken(self._work, left + _GRACE)

    def _left(self) -> float:
        return (self._stop_at or 0.0) - time.monotonic()
