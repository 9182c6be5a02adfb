"""One run: a claimed message's handler under its timeout, and the settling."""

import asyncio
import inspect
import random
import time
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from typing import Any, Final, Literal

from offhook.clock import elapsed
from offhook.core.addresses import folded
from offhook.core.forms import decode_form
from offhook.core.keys import Kind
from offhook.core.lifecycle import Delivery
from offhook.core.loops import hold
from offhook.core.messages import Message, StatusUpdate, replies
from offhook.core.reasons import Cause
from offhook.core.send_reference import FIELD, referred_send
from offhook.drafts import ReturnAddress, drafts_of, notice
from offhook.errors import LeaseLost, NotRunning, StoreUnavailable
from offhook.events import Handled, Observer, Problem, Started, Topic
from offhook.handlers import Handler, Handlers, Subject
from offhook.patience import StoreWatch
from offhook.ports import Admission, Claim, Draft, SenderLimit, Store
from offhook.replies import LedgerReplier
from offhook.settings import Settings
from offhook.verification import Verifier
from offhook.worker.decide import (
    Interrupted,
    LoopSuspected,
    Raised,
    Result,
    Returned,
    SenderLimited,
    Terms,
    TimedOut,
    Unhandled,
    decide,
    describe,
)
from offhook.worker.threads import Threads
from offhook.worker.verify import ATTEMPTS, verify

_INTERRUPT_GRACE: Final = 1.0  # seconds for a cancelled handler to clean up
# Seconds until an interrupted message whose thread goes on may be had again: by then this process
# has ended, and the thread with it.
_THREAD_GRACE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """What all runs of a worker share."""

    store: Store
    handlers: Handlers
    settings: Settings
    observer: Observer
    threads: Threads
    watch: StoreWatch
    verifier: Verifier
    sender_limit: SenderLimit | None = None


class _Over(Enum):
    """Why a run must end before its handler does."""

    INTERRUPTED = auto()  # the worker is going down
    LOST = auto()  # another run has the message
    LAPSED = auto()  # its lease ran out while the process stood still: another may have it


class Run:
    """A run of one claimed message. Call it once.

    Attributes:
        until: when its lease runs out, by `elapsed`.
    """

    def __init__(self, claim: Claim, tools: Tools, *, until: float) -> None:
        self.claim = claim
        self.until = until
        self._tools = tools
        self._terms = Terms(tools.settings.handler_timeout, tools.settings.max_attempts)
        self._over: asyncio.Future[_Over] = asyncio.get_running_loop().create_future()
        self._coroutine: asyncio.Task[Result] | None = None  # while an async handler runs

    def interrupt(self) -> None:
        """Cancel the handler and hand the message back; no attempt is counted."""
        self._end(_Over.INTERRUPTED)

    def lose(self) -> None:
        """Cancel the handler and leave the message to the run that has it now."""
        self._end(_Over.LOST)

    def lapse(self) -> None:
        """Cancel the handler at once, and hand the message back unless another run has it.

        A thread can't be cancelled. Its lease is renewed, or lost, as any other.
        """
        if self._coroutine is not None and not self._coroutine.done():
            self._coroutine.cancel()
            self._end(_Over.LAPSED)

    async def __call__(self) -> None:
        """Run the handler and settle the message; neither counts once the lease is lost."""
        claim = self.claim
        self._tools.observer(Started(claim.id, claim.kind, claim.sid, claim.attempt))
        waited = max(0.0, time.time() - claim.received)
        began = time.monotonic()
        result = await self._attempt()
        if result is None:
            self._tell_lost()
            return
        settlement = decide(result, self.claim, self._terms, random.random())  # noqa: S311 - jitter
        took = time.monotonic() - began
        try:
            await self._tools.watch.persist(
                lambda: self._tools.store.settle(self.claim, settlement)
            )
        except LeaseLost:
            self._tell_lost()
            return
        self._tools.observer(
            Handled(
                self.claim.id,
                self.claim.kind,
                self.claim.sid,
                self.claim.attempt,
                settlement.trigger,
                waited,
                took,
                describe(result),
                settlement.error if isinstance(settlement.error, str) else "",
            )
        )

    async def _attempt(self) -> Result | None:
        """Return what became of the message; None when it is another run's now."""
        try:
            match self.claim.kind:
                case Kind.MESSAGE:
                    return await self._attempt_message()
                case Kind.STATUS:
                    return await self._attempt_status()
                case Kind.DEFERRED:
                    return await self._attempt_deferred()
        except Exception as error:  # noqa: BLE001 - a form, or a user's `where`: a failed attempt
            return Raised(error)

    async def _attempt_message(self) -> Result | None:
        raw = dict(decode_form(self.claim.form).first)
        message = Message.parse(
            raw, attempt=self.claim.attempt, opt_outs=self._tools.settings.opt_outs
        )
        address = ReturnAddress.of(message, self._tools.settings)
        self._terms = _with_notices(self._terms, message, address, self._tools.settings)
        if (ended := await self._slow_down(message)) is not None:
            return None if ended is _Over.LOST else ended
        if not message.opt_out and (limited := await self._limit(message)) is not None:
            return limited
        handler = self._tools.handlers.find(message)
        if handler is None:
            return Unhandled(Cause.NO_HANDLER(message.opt_out or message.channel))
        replier = LedgerReplier(self._tools.store, self.claim, address, self._tools.observer)
        try:
            return await self._handle(handler, replace(message, _replier=replier), replier)
        finally:
            replier.end(NotRunning("the run of this message is over"))

    async def _attempt_status(self) -> Result | None:
        raw = dict(decode_form(self.claim.form).first)
        reference = raw.pop(FIELD, "")
        status = StatusUpdate.parse(raw, attempt=self.claim.attempt)
        reported = Delivery(status.status, status.error_code)
        account, tokens = status.account_sid, self._tools.settings.auth_tokens
        send = referred_send(reference, account, tokens)
        await self._tools.watch.persist(
            lambda: self._tools.store.record_delivery(
                send, status.sid, reported, account_sid=account
            )
        )
        handler = self._tools.handlers.find(status)
        return Returned() if handler is None else await self._handle(handler, status)

    async def _attempt_deferred(self) -> Result:
        self._terms = replace(self._terms, max_attempts=ATTEMPTS)
        return await verify(self.claim, self._tools.verifier, self._tools.store, self._tools.watch)

    async def _limit(self, message: Message) -> SenderLimited | None:
        """Count a message that is run for the first time; say if it is one too many."""
        limit, rate = self._tools.sender_limit, self._tools.settings.sender_limit
        claim = self.claim
        if limit is None or rate is None or claim.replayed or claim.attempt > 1 or claim.crashes:
            return None
        admission = await limit.admit(message.account_sid, folded(message.from_), claim.received)
        if admission is Admission.ADMITTED:
            return None
        amount, seconds = rate
        first = admission is Admission.FIRST_EXCESS
        if first:
            text = (
                f"message {claim.id} is parked, and so is what its sender sends until the window "
                f"is over: more than {amount} messages in {seconds:g} s (OFFHOOK_SENDER_LIMIT)"
            )
            self._tools.observer(Problem(Topic.SENDER_LIMIT, text))
        return SenderLimited(amount, seconds, tells=first)

    async def _slow_down(
        self, message: Message
    ) -> LoopSuspected | Interrupted | Literal[_Over.LOST] | None:
        """Put off the answer where a loop is likely, and say whether it is one.

        Pictures and what is forwarded come as fast as a phone sends them, and of people.
        """
        rule, claim = self._tools.settings.loop_limit, self.claim
        by_a_person = message.opt_out or message.media or message.forwarded or claim.replayed
        if rule is None or by_a_person:
            return None
        limit, _ = rule
        if claim.turns >= limit:
            text = (
                f"message {claim.id} is parked: {claim.turns} replies were answered faster than by "
                "any person, as when two bots talk with each other (OFFHOOK_LOOP_LIMIT)"
            )
            self._tools.observer(Problem(Topic.LOOP_SUSPECTED, text))
            return LoopSuspected(claim.turns)
        if seconds := hold(claim.turns, limit, time.time() - claim.received):
            await _first(self._over, within=seconds)
        if not self._over.done():
            return None
        lost = self._over.result() is _Over.LOST
        return _Over.LOST if lost else Interrupted(0.0)

    async def _handle(
        self,
        handler: Handler,
        subject: Subject,
        replier: LedgerReplier | None = None,
    ) -> Result | None:
        self._terms = _with_handler(self._terms, handler)
        if self.until <= elapsed():  # the process stood still between the claim and now
            return Interrupted(0.0)
        work = asyncio.create_task(self._call(handler, subject, replier))
        if handler.is_async:
            self._coroutine = work
        try:
            await _first(work, self._over, within=self._terms.timeout)
            if work.done() and not self._has_lapsed():
                return work.result()
            if replier is not None:
                replier.end(NotRunning("the time of this run is over"))
            return await self._cut_short(work)
        finally:
            work.cancel()

    async def _cut_short(self, work: asyncio.Task[Result]) -> Result | None:
        """Cancel a handler that has timed out, lost its lease or must make way for a restart.

        A thread goes on, and so may a coroutine that suppresses its cancellation. Until they have
        ended, the message stays unsettled and its lane held: two runs at once would be out of
        order. Only a restart does not wait for them.
        """
        timed_out = not self._over.done()
        work.cancel()
        if timed_out:
            await self._tell_timeout()
            await _first(work, self._over)
        if self._has_lapsed():
            await asyncio.wait({work})
            return Interrupted(0.0)
        if self._over.done() and self._over.result() is _Over.LOST:
            await asyncio.wait({work})
            return None
        if timed_out:
            return TimedOut(self._terms.timeout)
        await asyncio.wait({work}, timeout=_INTERRUPT_GRACE)
        return Interrupted(0.0 if work.done() else _THREAD_GRACE)

    async def _call(
        self, handler: Handler, subject: Subject, replier: LedgerReplier | None
    ) -> Result:
        try:
            answer = (
                handler.call(subject)
                if handler.is_async
                else await self._tools.threads.run(partial(handler.call, subject))
            )
            if inspect.isawaitable(answer):
                answer = await answer
            if replier is None:
                return Returned()  # to a status nobody can reply
            await replier.finish()
            return Returned(
                tuple(
                    draft
                    for number, reply in enumerate(replies(answer))
                    for draft in drafts_of(reply, f"return:{number}", replier.address)
                )
            )
        except KeyboardInterrupt:
            raise  # not the handler's: somebody wants this process to end
        except BaseException as error:  # noqa: BLE001 - SystemExit, too, ends a run, not the worker
            return Raised(error)

    async def _tell_timeout(self) -> None:
        draft = self._terms.timeout_notice
        if draft is None or self._terms.is_last(self.claim):
            return
        try:
            await self._tools.store.notify(self.claim.id, draft)
        except StoreUnavailable as error:
            # Not repeated: by the time the store is back, it would not be true any more.
            self._tools.watch.away(error)

    def _tell_lost(self) -> None:
        text = (
            f"message {self.claim.id} belongs to another run now; the result of this one is dropped"
        )
        self._tools.observer(Problem(Topic.LEASE_LOST, text))

    def _has_lapsed(self) -> bool:
        return self._over.done() and self._over.result() is _Over.LAPSED

    def _end(self, why: _Over) -> None:
        if not self._over.done():
            self._over.set_result(why)


async def _first(*futures: asyncio.Future[Any], within: float | None = None) -> None:
    await asyncio.wait(futures, timeout=within, return_when=asyncio.FIRST_COMPLETED)


def _with_notices(
    terms: Terms, message: Message, address: ReturnAddress, settings: Settings
) -> Terms:
    if message.opt_out:
        return replace(terms, cancel_lane=message.opt_out == "STOP")
    return replace(
        terms,
        timeout_notice=notice("timeout", settings.timeout_notice, address),
        failure_notice=notice("failure", settings.failure_notice, address),
        limit_notice=_limit_notice(address, settings),
    )


def _limit_notice(address: ReturnAddress, settings: Settings) -> Draft | None:
    if settings.sender_limit is None:
        return None
    _, window = settings.sender_limit
    return notice("limit", settings.limit_notice, address, once_in=window)


def _with_handler(terms: Terms, handler: Handler) -> Terms:
    return replace(
        terms,
        timeout=terms.timeout if handler.timeout is None else handler.timeout,
        max_attempts=terms.max_attempts if handler.max_attempts is None else handler.max_attempts,
        holds_lane=handler.holds_lane,
    )
