"""The terms of a run: its timeout, its attempts, and the notices that it may write. Pure."""

from dataclasses import dataclass, replace
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
class Terms:
    """The terms of a run.

    Attributes:
        timeout: seconds.
        max_attempts: attempts until the message is dead.
        holds_lane: whether the lane waits for the next attempt.
        timeout_notice: written after a timeout that another attempt follows.
        failure_notice: written with the last failure.
        limit_notice: written with the first message that exceeds the sender limit in its window.
        cancel_lane: whether the person has opted out of what is still to be sent.
    """

    timeout: float
    max_attempts: int
    holds_lane: bool = True
    timeout_notice: Draft | None = None
    failure_notice: Draft | None = None
    limit_notice: Draft | None = None
    cancel_lane: bool = False

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
    deferred = claim.kind is Kind.DEFERRED
    terms = Terms(settings.handler_timeout, VERIFICATIONS if deferred else settings.max_attempts)
    if isinstance(subject, Message):
        terms = _with_notices(terms, subject, settings)
    return terms if handler is None else _with_options(terms, handler)


def _with_notices(terms: Terms, message: Message, settings: Settings) -> Terms:
    if message.opt_out:
        return replace(terms, cancel_lane=message.opt_out == "STOP")
    address = ReturnAddress.of(message, settings)
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


def _with_options(terms: Terms, handler: Handler) -> Terms:
    return replace(
        terms,
        timeout=terms.timeout if handler.timeout is None else handler.timeout,
        max_attempts=terms.max_attempts if handler.max_attempts is None else handler.max_attempts,
        holds_lane=handler.holds_lane,
    )
