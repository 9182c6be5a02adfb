"""The terms of a run: its timeout, its attempts, and the notices that it may write. Pure."""

from dataclasses import dataclass
from typing import Final

from offhook.core.keys import Kind
from offhook.settings import Settings
from offhook.stores.api import Claim, Draft
from offhook.worker.drafts import ReturnAddress, notice
from offhook.worker.handlers import Handler, Subject
from offhook.worker.message import Message

VERIFICATIONS: Final = 300
"""Attempts to find the credentials of a deferred request: with the backoff's 300 s between them,
for about a day."""


@dataclass(frozen=True, slots=True)
class Notices:
    """The notices of a run to the person who wrote. Each is made when it is needed: seldom."""

    address: ReturnAddress
    settings: Settings

    def timeout(self) -> Draft | None:
        """Return what is written after a timeout that another attempt follows."""
        return notice("timeout", self.settings.timeout_notice, self.address)

    def failure(self) -> Draft | None:
        """Return what is written with the last failure."""
        return notice("failure", self.settings.failure_notice, self.address)

    def limit(self) -> Draft | None:
        """Return what is written with the first message over the sender limit in its window."""
        if self.settings.sender_limit is None:
            return None
        _, window = self.settings.sender_limit
        return notice("limit", self.settings.limit_notice, self.address, once_in=window)


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a run.

    Attributes:
        timeout: seconds.
        max_attempts: attempts until the message is dead.
        holds_lane: whether the lane waits for the next attempt.
        cancel_lane: whether the person has opted out of what is still to be sent.
        notices: None where there are none: to one who has opted out, or of a status.
        handler: the name of the handler; empty if none runs.
    """

    timeout: float
    max_attempts: int
    holds_lane: bool = True
    cancel_lane: bool = False
    notices: Notices | None = None
    handler: str = ""

    def is_last(self, claim: Claim) -> bool:
        """Return whether no attempt follows the claim's."""
        return claim.attempt >= self.max_attempts


def terms_of(
    claim: Claim,
    settings: Settings,
    subject: Subject | None = None,
    handler: Handler | None = None,
) -> Terms:
    """Return the terms of a run.

    Args:
        claim: the run's.
        settings: of the app.
        subject: None as long as it could not be read, and for a deferred request.
        handler: None as long as it is not known.
    """
    timeout = settings.handler_timeout
    max_attempts = VERIFICATIONS if claim.kind is Kind.DEFERRED else settings.max_attempts
    if handler is not None:
        timeout = timeout if handler.timeout is None else handler.timeout
        max_attempts = max_attempts if handler.max_attempts is None else handler.max_attempts
    message = subject if isinstance(subject, Message) else None
    notices = None
    if message is not None and not message.opt_out:
        notices = Notices(ReturnAddress.of(message, settings), settings)
    return Terms(
        timeout,
        max_attempts,
        holds_lane=handler is None or handler.holds_lane,
        cancel_lane=message is not None and message.opt_out == "STOP",
        notices=notices,
        handler="" if handler is None else handler.name,
    )
