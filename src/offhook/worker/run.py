"""Run the handler of one claimed message under its timeout, and settle the message."""

import asyncio
import inspect
import random
import time
from dataclasses import dataclass, replace
from enum import Enum, auto
from functools import partial
from typing import Final, Literal

from offhook.clock import elapsed
from offhook.conversations.conversation import Conversation, let_ask, to_save
from offhook.core.addresses import folded
from offhook.core.calls import Call
from offhook.core.forms import decode_form
from offhook.core.keys import Kind
from offhook.core.lifecycle import STATUSES, Delivery
from offhook.core.messages import StatusUpdate, replies
from offhook.core.opt_outs import OptOuts
from offhook.core.reasons import Cause
from offhook.core.send_reference import FIELD, referred_send
from offhook.core.turns import Turn
from offhook.errors import LeaseLost, NotRunning, StoreUnavailable
from offhook.events import Handled, Observer, Problem, Reported, Started, Topic
from offhook.ingress.validation import Validator
from offhook.settings import Settings, TypingPolicy
from offhook.stores.api import Claim, Draft, Settlement, Store, TurnFilter
from offhook.stores.availability import StoreWatch
from offhook.stores.people import addresses_in_channel
from offhook.twilio.error_codes import known_code
from offhook.worker.current_account import CURRENT_ACCOUNT
from offhook.worker.drafts import ReturnAddress, drafts_of
from offhook.worker.executor import ThreadExecutor
from offhook.worker.handler_calls import HandlerCalls
from offhook.worker.handlers import Handler, Handlers, Subject
from offhook.worker.media import Files, Media, RunFiles
from offhook.worker.message import Message, attach, place
from offhook.worker.outcome import (
    Interrupted,
    LoopSuspected,
    Raised,
    Result,
    Returned,
    SenderLimited,
    TimedOut,
    Unhandled,
    decide,
    describe,
)
from offhook.worker.replier import LedgerReplier
from offhook.worker.send_requests import RequestWriter
from offhook.worker.terms import Terms, terms_of
from offhook.worker.throttle import Throttle
from offhook.worker.typing import Indicator, RunTyping
from offhook.worker.verification import verify

_INTERRUPT_GRACE: Final = 1.0  # seconds for a cancelled handler to clean up
# Seconds until an interrupted message whose thread still runs may be claimed again: by then this
# process has ended, and the thread with it.
_THREAD_GRACE: Final = 1.0


@dataclass(frozen=True, slots=True)
class Tools:
    """The objects that all runs of a worker share.

    Attributes:
        loop: the running one. To find it out takes a system call each time.
    """

    loop: asyncio.AbstractEventLoop
    store: Store
    handlers: Handlers
    settings: Settings
    opt_outs: OptOuts
    observer: Observer
    threads: ThreadExecutor
    watch: StoreWatch
    validator: Validator
    throttle: Throttle
    typing: Indicator | None = None
    files: Files | None = None


class _Over(Enum):
    """Why a run must end before its handler does."""

    INTERRUPTED = auto()  # the worker is stopping
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
        self._over: _Over | None = None
        self._task: asyncio.Task[object] | None = None  # while the run may be cancelled
        self._calls: HandlerCalls | None = None
        self._can_lapse = False
        self._left_behind = False
        self._timed_out: asyncio.Task[None] | None = None  # tells the person

    def interrupt(self) -> None:
        """Cancel the handler and hand the message back; no attempt is counted.

        A thread is not waited for longer than a moment.
        """
        self._end(_Over.INTERRUPTED)
        self._tools.loop.call_later(_INTERRUPT_GRACE, self._leave_behind)

    def lose(self) -> None:
        """Cancel the handler; another run has the message."""
        self._end(_Over.LOST)

    def lapse(self) -> None:
        """Cancel an async handler, and hand the message back unless another run has it.

        A thread can't be cancelled: its lease is renewed, or lost, as any other.
        """
        if self._can_lapse:
            self._end(_Over.LAPSED)

    async def __call__(self) -> None:
        """Run the handler and settle the message; neither counts once the lease is lost."""
        claim = self.claim
        self._tools.observer(Started(claim.id, claim.kind, claim.sid, claim.attempt))
        waited = max(0.0, time.time() - claim.received)
        began = time.monotonic()
        result, terms = await self._attempt()
        took = time.monotonic() - began
        if result is None or (settlement := await self._settle(result, terms)) is None:
            self._report_lost()
            return
        traceback = settlement.error if isinstance(settlement.error, str) else ""
        self._tools.observer(
            Handled(
                claim.id,
                claim.kind,
                claim.sid,
                claim.attempt,
                settlement.trigger,
                waited,
                took,
                describe(result),
                traceback,
                settlement.delay,
                terms.handler,
            )
        )

    async def _settle(self, result: Result, terms: Terms) -> Settlement | None:
        """Settle the message; return how, None when it is another run's now."""
        store = self._tools.store
        settlement = decide(result, self.claim, terms, random.random())  # noqa: S311 - jitter
        try:
            await self._tools.watch.persist(lambda: store.settle(self.claim, settlement))
        except LeaseLost:
            return None
        return settlement

    async def _attempt(self) -> tuple[Result | None, Terms]:
        """Return the result, None when the message is another run's now, and the run's terms."""
        tools, claim = self._tools, self.claim
        terms, subject, handler = partial(terms_of, claim, tools.settings), None, None
        try:
            if claim.kind is Kind.DEFERRED:
                return await verify(claim, tools.validator, tools.store, tools.watch), terms()
            subject = await self._read()
            if isinstance(subject, Message) and (end := await self._throttled(subject)) is not None:
                return None if end is _Over.LOST else end, terms(subject)
            handler = tools.handlers.find(subject)
            if handler is None:
                return _unhandled(subject), terms(subject)
            in_full = terms(subject, handler)
            return await self._handle(handler, subject, in_full), in_full
        except Exception as error:  # noqa: BLE001 - a form, or a user's `where`: a failed attempt
            return Raised(error), terms(subject, handler)

    async def _read(self) -> Subject:
        """Return what the claim's form describes; record a status in the ledger."""
        tools, attempt = self._tools, self.claim.attempt
        raw = decode_form(self.claim.form).first
        if self.claim.kind is Kind.MESSAGE:
            message = Message.parse(raw, attempt=attempt, opt_outs=tools.opt_outs)
            place(message, Conversation(self.claim.state))
            return message
        raw = dict(raw)
        reference = raw.pop(FIELD, "")
        status = StatusUpdate.parse(raw, attempt=attempt)
        reported = Delivery(status.status, status.error_code)
        account = status.account_sid
        send = referred_send(reference, account, tools.settings.auth_tokens)
        is_ours = await tools.watch.persist(
            lambda: tools.store.record_delivery(send, status.sid, reported, account_sid=account)
        )
        if is_ours and attempt == 1:
            word = status.status if status.status in STATUSES else "other"
            code = status.error_code and known_code(status.error_code)
            tools.observer(Reported(self.claim.id, status.sid, word, code))
        return status

    async def _throttled(
        self, message: Message
    ) -> LoopSuspected | SenderLimited | Interrupted | Literal[_Over.LOST] | None:
        """Delay or park a message that exceeds a limit; None when its handler may run."""
        loop = self._tools.throttle.loop(self.claim, message)
        if isinstance(loop, LoopSuspected):
            return loop
        if loop:
            await self._pause(loop)
        if self._over is not None:
            return _Over.LOST if self._over is _Over.LOST else Interrupted(0.0)
        return await self._tools.throttle.excess(self.claim, message)

    async def _pause(self, seconds: float) -> None:
        """Wait until then, or until the run is over."""
        self._task = asyncio.current_task(self._tools.loop)
        try:
            await asyncio.sleep(seconds)
        except asyncio.CancelledError:
            if not self._is_cut_short():
                raise
        finally:
            self._task = None

    async def _handle(self, handler: Handler, subject: Subject, terms: Terms) -> Result | None:
        """Run the handler in the task of the run, which is cancelled to cut it short.

        A thread runs on then, and so may a coroutine that suppresses its cancellation. Until they
        have ended, the message stays unsettled and its lane held: two concurrent runs would be out
        of order. Only an interruption does not wait for a thread.
        """
        if self.until <= elapsed():  # the process stood still between the claim and now
            return Interrupted(0.0)
        if self._over is not None:
            return self._cut_short(terms)
        if isinstance(subject, Message):
            self._calls = HandlerCalls(self.claim.id, self._tools.observer)
            self._give_methods(subject, self._calls)
        loop = self._tools.loop
        self._task, self._can_lapse = asyncio.current_task(loop), handler.is_async
        CURRENT_ACCOUNT.set(subject.account_sid)
        timer = loop.call_later(terms.timeout, self._time_out, terms)
        try:
            result = await self._call(handler, subject, self._calls)
        finally:
            timer.cancel()
            self._task, self._can_lapse = None, False
            if self._calls is not None:
                self._calls.end(NotRunning("the run of this message is over"))
        if self._timed_out is not None:
            await self._timed_out
        return self._cut_short(terms) if self._is_cut_short() else result

    def _give_methods(self, message: Message, calls: HandlerCalls) -> None:
        """Have a message's methods work, through these calls."""
        tools = self._tools
        address = ReturnAddress.of(message, tools.settings)
        typing = RunTyping(tools.typing, calls, message)
        if tools.settings.typing is TypingPolicy.AUTO and not message.opt_out:
            typing.show("")
        replier = LedgerReplier(tools.store, self.claim, address, calls, tools.observer)
        attach(message, replier, typing, self._fetchable(message, calls))
        let_ask(message.conversation, partial(self._history, message, calls))

    def _history(
        self, message: Message, calls: HandlerCalls, limit: int, where: str
    ) -> Call[list[Turn]]:
        async def read() -> list[Turn]:
            persons = await addresses_in_channel(self._tools.store, folded(message.from_))
            wanted = TurnFilter(self.claim.lane, persons, limit, self.claim.id)
            return list(await self._tools.store.turns(wanted))

        return calls.begin(read, "message.conversation.history", where)

    def _fetchable(self, message: Message, calls: HandlerCalls) -> tuple[Media, ...]:
        if self._tools.files is None or not message.media:
            return message.media
        files = RunFiles(self._tools.files, message.account_sid, calls)
        return tuple(replace(one, _files=files) for one in message.media)

    def _cut_short(self, terms: Terms) -> Result | None:
        """Return the result of a run that was not let end; None when its lease is lost."""
        if self._over is _Over.LOST:
            return None
        if self._timed_out is not None and self._over is not _Over.LAPSED:
            return TimedOut(terms.timeout)
        return Interrupted(_THREAD_GRACE if self._left_behind else 0.0)

    async def _call(self, handler: Handler, subject: Subject, calls: HandlerCalls | None) -> Result:
        try:
            if handler.is_async:
                answer = await handler.call(subject)
            else:
                answer = await self._tools.threads.run(partial(handler.call, subject))
                if inspect.isawaitable(answer):
                    answer = await answer
            if isinstance(subject, StatusUpdate):
                await self._send_returned(subject, answer)
            if calls is None or not isinstance(subject, Message):
                return Returned()
            await calls.finish()
            return Returned(self._returned(subject, answer), to_save(subject.conversation))
        except KeyboardInterrupt:
            raise  # not the handler's: the process is to end
        except BaseException as error:
            if self._is_abandoned(error):
                raise
            return Raised(error)

    def _returned(self, message: Message, answer: object) -> tuple[Draft, ...]:
        if answer is None:
            return ()
        address = ReturnAddress.of(message, self._tools.settings)
        return tuple(
            draft
            for number, reply in enumerate(replies(answer))
            for draft in drafts_of(reply, f"return:{number}", address)
        )

    async def _send_returned(self, status: StatusUpdate, answer: object) -> None:
        tools = self._tools
        writer = RequestWriter(tools.store, tools.settings, tools.observer)
        await writer.write_returned(answer, status, self.claim, tools.watch)

    def _is_abandoned(self, error: BaseException) -> bool:
        """Return whether the worker is ending without this run, and its lease is to run out."""
        if not isinstance(error, asyncio.CancelledError) or self._is_cut_short():
            return False
        return self._task is not None and self._task.cancelling() > 0

    def _time_out(self, terms: Terms) -> None:
        self._timed_out = asyncio.create_task(self._notify_timeout(terms))
        self._cancel()

    async def _notify_timeout(self, terms: Terms) -> None:
        draft = terms.notices.timeout() if terms.notices else None
        if draft is None or terms.is_last(self.claim):
            return
        try:
            await self._tools.store.notify(self.claim.id, draft)
        except StoreUnavailable as error:
            # Not repeated: by the time the store is available, it would not be true any more.
            self._tools.watch.away(error)

    def _report_lost(self) -> None:
        text = f"another run has claimed message {self.claim.id}; the result of this run is dropped"
        self._tools.observer(Problem(Topic.LEASE_LOST, text))

    def _is_cut_short(self) -> bool:
        return self._over is not None or self._timed_out is not None

    def _end(self, why: _Over) -> None:
        if self._over is None:
            self._over = why
            self._cancel()

    def _leave_behind(self) -> None:
        self._left_behind = self._task is not None
        self._cancel()

    def _cancel(self) -> None:
        if self._task is not None:
            if self._calls is not None:
                self._calls.end(NotRunning("the time of this run is over"))
            self._task.cancel()


def _unhandled(subject: Subject) -> Result:
    """Return the result without a handler; a status has been recorded by then."""
    if isinstance(subject, StatusUpdate):
        return Returned()
    return Unhandled(Cause.NO_HANDLER(subject.opt_out or subject.channel))
