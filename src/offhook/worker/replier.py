"""Write the replies of one run to the ledger."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Final

from offhook.core.calls import Call
from offhook.core.messages import Reply, Send
from offhook.core.reasons import Cause
from offhook.errors import LeaseLost, NotAwaited, NotRunning, StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.stores.api import Claim, Draft, Ledger
from offhook.worker.drafts import ReturnAddress, drafts_of

_WHAT: Final = "message.reply"
_LINES: Final = 3  # that an error names
_GONE: Final = "the worker of this run has ended: the reply was not written"


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
