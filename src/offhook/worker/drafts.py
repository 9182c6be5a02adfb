"""Turn replies and notices into the ledger's drafts: addressed, split and named."""

from dataclasses import dataclass
from hashlib import blake2b
from typing import Final, Literal, Self

from offhook.core.addresses import channel_of, folded
from offhook.core.messages import InboundMessage, Reply
from offhook.core.texts import split_text, well_formed
from offhook.errors import InvalidReply
from offhook.settings import Settings
from offhook.stores.api import Draft, Overdue

NOTICE_PAUSE: Final = 600.0
"""Seconds in which a lane gets each kind of notice at most once: five messages that are delayed by
the same outage need one notice."""

FALLBACK: Final = "fallback:"
"""What the identities of fallbacks begin with, before that of the reply."""

_SHORT: Final = 100  # characters

NoticeKind = Literal["slow", "timeout", "failure", "limit"]


@dataclass(frozen=True, slots=True)
class ReturnAddress:
    """The address of the replies to a message.

    Attributes:
        account_sid: sends them.
        ours: the number that the message was sent to.
        theirs: the person's.
        configured: the sender of the settings; empty for `ours`.
    """

    account_sid: str
    ours: str
    theirs: str
    configured: str = ""

    @classmethod
    def of(cls, origin: InboundMessage | Overdue, settings: Settings) -> Self:
        """Return the address for replies to a message."""
        match origin:
            case InboundMessage():
                ours, theirs = origin.to, origin.from_
            case Overdue():
                ours, theirs = origin.recipient, origin.sender
        account_sid = origin.account_sid or settings.account_sid
        return cls(account_sid, folded(ours), folded(theirs), sender_of(account_sid, settings))

    def sender_to(self, to: str) -> str:
        """Return the sender of a message to `to`.

        It has the recipient's channel where possible: Twilio refuses any other pair
        (https://www.twilio.com/docs/api/errors/21910). A Messaging Service has numbers for all.
        """
        if self.configured.startswith("MG"):
            return self.configured
        candidates = [sender for sender in (self.configured, self.ours) if sender]
        fitting = (sender for sender in candidates if channel_of(sender) == channel_of(to))
        return next(fitting, self.configured or self.ours)


def sender_of(account_sid: str, settings: Settings) -> str:
    """Return the sender that is configured for an account; empty for none.

    A number or Messaging Service belongs to one account: Twilio refuses it in the name of another,
    also of a subaccount (https://www.twilio.com/docs/api/errors/21660).
    """
    return settings.sender if account_sid == settings.account_sid else ""


def drafts_of(reply: Reply, identity: str, address: ReturnAddress) -> tuple[Draft, ...]:
    """Return the drafts of a reply: one, or several for a long text.

    The first has the reply's identity, further ones `return:0.1`, `return:0.2`, ...; media go
    with the first.

    Raises:
        InvalidReply: its identity is not a text that a store can write.
    """
    if not isinstance(identity, str) or well_formed(identity) != identity:
        raise InvalidReply(f"the key of a reply must be a text, not {identity!a}")
    to = folded(reply.to) or address.theirs
    # A template replaces the body, and a blank text beside media has no parts.
    parts = ((reply.body,) if reply.content_sid else split_text(reply.body)) or ("",)
    fallback = reply.fallback if channel_of(to) == "whatsapp" else None
    return tuple(
        Draft(
            identity=_part(identity, number),
            account_sid=address.account_sid,
            sender=address.sender_to(to),
            to=to,
            body=body,
            media=() if number else tuple(reply.media),
            content_sid=reply.content_sid,
            content_variables=reply.content_variables,
            fallback=fallback,
            fallback_identity=fallback_of(identity) if fallback else "",
        )
        for number, body in enumerate(parts)
    )


def fallback_of(identity: str) -> str:
    """Return the identity of the template that is sent once more in place of a reply.

    Short enough for any index: a user's own key may have any length.
    """
    if len(identity) > _SHORT:
        identity = f"~{blake2b(identity.encode(), digest_size=16).hexdigest()}"
    return f"{FALLBACK}{identity}"


def _part(identity: str, number: int) -> str:
    if not number:
        return identity
    kind, _, name = identity.partition(":")
    # A user's key may end in ".1" itself; so its parts are numbered where no key can reach.
    return f"key.{number}:{name}" if kind == "key" else f"{identity}.{number}"


def notice(
    kind: NoticeKind, text: str, address: ReturnAddress, *, once_in: float = NOTICE_PAUSE
) -> Draft | None:
    """Return the draft of a notice; None for an empty text, which disables it."""
    if not text:
        return None
    return Draft(
        identity=f"notice:{kind}",
        account_sid=address.account_sid,
        sender=address.sender_to(address.theirs),
        to=address.theirs,
        body=text,
        once_in=once_in,
    )
