"""Write the replies of one run to the ledger."""

from collections.abc import Sequence
from functools import partial
from typing import Final

from offhook.core.calls import Call
from offhook.core.messages import Reply, Send
from offhook.errors import StoreUnavailable
from offhook.events import Observer, Problem, Topic
from offhook.stores.api import Claim, Draft, Ledger
from offhook.worker.drafts import ReturnAddress, drafts_of
from offhook.worker.handler_calls import HandlerCalls

_WHAT: Final = "message.reply"


class LedgerReplier:
    """Writes the replies of one run to the ledger, while the run lasts.

    Replies are numbered in the order in which they are begun, so a repeated attempt finds those of
    the attempt before and writes none twice.

    Args:
        store: of the running event loop.
        claim: the run's; every write carries its token.
        address: where replies go by default.
        calls: of the run.
        observer: called when a repeated attempt writes another text than the first.
    """

    def __init__(
        self,
        store: Ledger,
        claim: Claim,
        address: ReturnAddress,
        calls: HandlerCalls,
        observer: Observer,
    ) -> None:
        self._address = address
        self._store = store
        self._claim = claim
        self._calls = calls
        self._observer = observer
        self._next = 0

    def reply(self, reply: Reply, key: str | None, where: str) -> Call[Send]:
        """Write a reply to the ledger; return its send, the last one of a long text.

        When awaited, or at once in a thread without an event loop.

        Raises:
            LeaseLost: another run has the message now.
            NotRunning: this run is over.
            StoreUnavailable: nothing was written.
        """
        return self._calls.begin(partial(self._write, reply, key), _WHAT, where)

    async def _write(self, reply: Reply, key: str | None) -> Send:
        number = self._next
        if key is None:
            self._next += 1
        drafts = drafts_of(reply, f"reply:{number}" if key is None else f"key:{key}", self._address)
        try:
            sends = await self._store.write(self._claim, drafts)
        except StoreUnavailable:
            # A handler that repeats the reply must get the same number, or the next attempt, with
            # the store available, would send it twice.
            if key is None and self._next == number + 1:
                self._next = number
            raise
        self._compare(drafts, sends)
        return sends[-1]

    def _compare(self, drafts: Sequence[Draft], sends: Sequence[Send]) -> None:
        for draft, send in zip(drafts, sends, strict=True):
            if send.repeated and send.body != draft.body:
                text = (
                    f"attempt {self._claim.attempt} of message {self._claim.id} has another text "
                    f"for {draft.identity} than an earlier attempt, whose text is kept"
                )
                self._observer(Problem(Topic.REPLY_DIFFERS, text))
