"""The turns of a conversation: what either side has said."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final

from offhook.core.forms import decode_form
from offhook.core.lifecycle import Delivery, SendState
from offhook.core.messages import Attachment, InboundMessage

MOST: Final = 500
"""Turns that are returned at most."""

LOOKED_THROUGH: Final = 2_000
"""Messages of a person, and as many sends of a conversation, among which turns are looked for."""

SAID: Final = frozenset({SendState.PENDING, SendState.SENDING, SendState.SENT, SendState.UNKNOWN})
"""States of sends that the person has had, may have had, or will have."""


class Direction(StrEnum):
    """Who said it."""

    INBOUND = "inbound"  # the person
    OUTBOUND = "outbound"  # the bot


@dataclass(frozen=True, slots=True)
class Turn:
    """A message of a conversation, from either side.

    Attributes:
        direction: `inbound` if the person wrote it, `outbound` if it was sent to them.
        body: the text.
        media: the attachments; of what was sent, their URLs without a type.
        at: when it was received, or when it was written to the ledger.
        sid: the MessageSid; empty for what Twilio has not accepted yet.
        delivery: the last status that Twilio reported of what was sent.
    """

    direction: Direction
    body: str
    media: tuple[Attachment, ...]
    at: datetime
    sid: str
    delivery: Delivery | None = None


def inbound(form: bytes, received: float) -> Turn:
    """Return the turn of a message, from its form and the time of its receipt."""
    message = InboundMessage.parse(decode_form(form).first)
    at = datetime.fromtimestamp(received, UTC)
    return Turn(Direction.INBOUND, message.body, message.media, at, message.sid)


def outbound(
    body: str, media: Iterable[str], written: float, *, sid: str, delivery: str, error_code: str
) -> Turn:
    """Return the turn of a send, from its columns and the time at which it was written."""
    return Turn(
        Direction.OUTBOUND,
        body,
        tuple(Attachment(url, "") for url in media),
        datetime.fromtimestamp(written, UTC),
        sid,
        Delivery(delivery, error_code) if delivery else None,
    )


def last(said: Iterable[Turn], limit: int) -> Sequence[Turn]:
    """Return the last turns that have a text or media, the oldest first.

    Args:
        said: by each side in its order.
        limit: how many.
    """
    fitting = [turn for turn in said if turn.body or turn.media]
    fitting.sort(key=lambda turn: (turn.at, turn.direction))  # inbound first
    return fitting[len(fitting) - min(limit, len(fitting)) :]
