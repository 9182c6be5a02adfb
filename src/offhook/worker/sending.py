"""Send the ledger's replies through Twilio."""

import asyncio
import time
from dataclasses import replace
from typing import Final, Protocol
from unicodedata import name

from offhook.core.segments import segmented
from offhook.errors import LeaseLost
from offhook.events import Observer, Problem, Sent, Topic
from offhook.settings import Settings
from offhook.stores.api import ClaimedSends, SendClaim, SendOutcome, Store
from offhook.stores.availability import StoreWatch
from offhook.twilio.sender import MAX_CONNECTIONS
from offhook.worker.claim_loop import ClaimLoop

MIN_SEND_LEASE: Final = 30.0
"""Seconds, at least, until a send is `unknown`; requests time out well before."""

_PAUSE: Final = 0.01
"""Seconds between two claims, unless the first took all it could, and before a claim of few: what
falls due meanwhile is claimed in one transaction."""

_FEW: Final = MAX_CONNECTIONS // 2

_LEAVES_WITHIN: Final = 0.5
"""Of a send's lease. The other half is for the request: the next of the lane is sent when the lease
has expired, and a process may be stopped at any moment."""

_GRACE: Final = 5.0  # seconds for running requests after the deadline of `stop`


_NAMED: Final = 3
"""Characters that are named, at most: a text in another alphabet would be quoted by its own."""


class Sender(Protocol):
    """Sends through Twilio."""

    async def send(self, claim: SendClaim) -> SendOutcome:
        """Ask Twilio to send a message, once; return what is known of the outcome. Raises nothing.

        Never connected, 429, or too late (`SendClaim.leaves_by`): POSTPONE. An answer that refuses:
        REFUSE. A request that left and whose answer was not read, or a 5xx: LOSE.
        """
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...


class SendLoop:
    """Sends the ledger's replies through Twilio.

    Args:
        store: open, and of this event loop.
        sender: sends; closed by the caller.
        settings: `lease` and `segments_warning` are used.
        observer: called with every try.
        owner: names this process in the leases.
    """

    def __init__(
        self, store: Store, sender: Sender, settings: Settings, observer: Observer, *, owner: str
    ) -> None:
        self._store = store
        self._sender = sender
        self._lease = max(settings.lease, MIN_SEND_LEASE)
        self._most = settings.segments_warning
        self._observer = observer
        self._owner = owner
        self._flowing = False  # whether the last claim found something, so the next may too
        self._watch = StoreWatch(observer, "replies are not sent")
        self._loop: ClaimLoop[SendClaim] = ClaimLoop(
            store.listen(),
            self._watch,
            lambda tokens: store.hand_back_sends(owner, tokens),
            observer,
            failed=Topic.SEND_FAILED,
            consequence="it will be unknown",
        )

    def stop(self, deadline: float) -> None:
        """Let `run` return once what is due is sent, starting nothing after `deadline` seconds.

        Requests that run by then get five seconds more: a cancelled one would be `unknown` until
        its status callback.
        """
        self._loop.stop(deadline)

    async def run(self) -> None:
        """Send until `stop` is called; wait for a store that is unavailable.

        Raises:
            StoreBroken: the store does not come back by itself.
        """
        try:
            await self._loop.run(self._begin)
            await self._finish()
        finally:
            self._loop.cancel()

    async def _begin(self) -> float | None:
        """Begin all sends that are due; return the seconds until the next is."""
        free = MAX_CONNECTIONS - len(self._loop.running)
        if free < _FEW:  # what ends meanwhile makes room for more
            await asyncio.sleep(_PAUSE)
            free = MAX_CONNECTIONS - len(self._loop.running)
        if not free:
            return None
        answer = await self._loop.claim(lambda: self._claim(free))
        if answer is None:
            return None
        claimed, began = answer
        for claim in claimed.claims:
            timed = replace(claim, leaves_by=began + _LEAVES_WITHIN * self._lease)
            self._loop.start(claim.token, timed, self._send(timed), f"send {claim.id}")
        # At capacity, the first send that ends sets `work`.
        if len(claimed.claims) == free:
            return None
        if claimed.claims:
            await asyncio.sleep(_PAUSE)
        return claimed.next_due

    async def _claim(self, limit: int) -> ClaimedSends:
        # Most wake-ups are for messages. A read delays nothing; a claim that finds nothing may
        # delay other writers.
        if not self._flowing and (due := await self._store.next_send_due()) != 0.0:
            return ClaimedSends(next_due=due)
        claimed = await self._store.claim_sends(limit, lease=self._lease, owner=self._owner)
        self._flowing = bool(claimed.claims)
        return claimed

    async def _send(self, claim: SendClaim) -> None:
        began = time.monotonic()
        outcome = await self._sender.send(claim)
        took = time.monotonic() - began
        try:
            await self._watch.persist(lambda: self._store.settle_send(claim, outcome))
        except LeaseLost:
            text = f"send {claim.id} took {took:.1f} s, longer than its lease"
            self._observer(Problem(Topic.LEASE_LOST, text))
        if self._most is not None and outcome.cost.segments > self._most:
            text = f"send {claim.id} has {outcome.cost.segments} segments{_why(claim.draft.body)}"
            self._observer(Problem(Topic.LONG_REPLY, text))
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
                outcome.delay,
                str(claim.fell_back),
            )
        )

    async def _finish(self) -> None:
        while (left := self._loop.stop_at - time.monotonic()) > -_GRACE:
            self._loop.work.clear()
            # Read before the claim: a send that ends during it lets the next of its lane go.
            was_idle = not self._loop.running
            if left > 0:
                await self._begin()
            if was_idle and not self._loop.running:
                return
            await self._loop.wait(left + _GRACE)


def _why(body: str) -> str:
    """Return which characters had a text encoded in UCS-2, if they are few."""
    forcing = segmented(body).forcing
    if not forcing:
        return ""
    what = f"{len(forcing)} characters"
    if len(forcing) <= _NAMED:
        what = ", ".join(f"U+{ord(char):04X} {name(char, '')}".rstrip() for char in forcing)
    return f": 70 characters each instead of 160, because of {what}"
