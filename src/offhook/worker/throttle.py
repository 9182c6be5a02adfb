"""The limits that a message passes before its handler runs: of two bots' turns, and of a sender."""

import time

from offhook.core.keys import person_of
from offhook.core.loop_detection import hold
from offhook.events import Observer, Problem, Topic
from offhook.ports import Admission, SenderLimit
from offhook.settings import Settings
from offhook.stores.api import Claim
from offhook.worker.message import Message
from offhook.worker.outcome import LoopSuspected, SenderLimited


class Throttle:
    """Parks and delays messages by OFFHOOK_LOOP_LIMIT and OFFHOOK_SENDER_LIMIT.

    Args:
        settings: `loop_limit` and `sender_limit` are used.
        observer: called with each loop, and with the first excess of each window.
        sender_limit: counts the messages of each sender; None for no limit.
    """

    def __init__(
        self, settings: Settings, observer: Observer, sender_limit: SenderLimit | None
    ) -> None:
        self._settings = settings
        self._observer = observer
        self._sender_limit = sender_limit

    def loop(self, claim: Claim, message: Message) -> LoopSuspected | float:
        """Return whether two bots are suspected; if not, the seconds to wait before the handler.

        Pictures and forwarded messages come as fast as a phone sends them, and from people.
        """
        rule = self._settings.loop_limit
        by_a_person = message.opt_out or message.media or message.forwarded or claim.replayed
        if rule is None or by_a_person:
            return 0.0
        limit, _ = rule
        if claim.turns < limit:
            return hold(claim.turns, limit, time.time() - claim.received)
        text = (
            f"message {claim.id} is parked: {claim.turns} replies were answered faster than by "
            "any person, as when two bots talk with each other (OFFHOOK_LOOP_LIMIT)"
        )
        self._observer(Problem(Topic.LOOP_SUSPECTED, text))
        return LoopSuspected(claim.turns)

    async def excess(self, claim: Claim, message: Message) -> SenderLimited | None:
        """Count a message that is run for the first time; return whether it is one too many."""
        limit, rate = self._sender_limit, self._settings.sender_limit
        exempt = message.opt_out or claim.replayed or claim.attempt > 1 or claim.crashes
        if limit is None or rate is None or exempt:
            return None
        # The lane's, so that a number and a user id are one person.
        person = person_of(claim.lane)
        admission = await limit.admit(message.account_sid, person, claim.received)
        if admission is Admission.ADMITTED:
            return None
        amount, seconds = rate
        first = admission is Admission.FIRST_EXCESS
        if first:
            text = (
                f"message {claim.id} is parked, and so is what its sender sends until the window "
                f"is over: more than {amount} messages in {seconds:g} s (OFFHOOK_SENDER_LIMIT)"
            )
            self._observer(Problem(Topic.SENDER_LIMIT, text))
        return SenderLimited(amount, seconds, notifies=first)
