"""The keys of webhooks: what identifies duplicates, and what orders messages (lanes)."""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from offhook.core.addresses import folded
from offhook.core.identity import identity_of, may_have_user_id
from offhook.core.messages import message_sid, message_status

KEY_BYTES: Final = 16

_RECEIVED: Final = frozenset({"receiving", "received"})


class Kind(StrEnum):
    """What a stored webhook is."""

    MESSAGE = "message"
    STATUS = "status"
    DEFERRED = "deferred"  # an unverified request, which becomes one of the others once verified


def dedupe_key(kind: Kind, raw: Mapping[str, str]) -> bytes:
    """Return the 16 bytes that all deliveries of one webhook share.

    A message is account + MessageSid. A status is account + MessageSid + MessageStatus +
    ErrorCode: by the SID alone, every later status would be dropped.
    """
    parts = [kind, raw.get("AccountSid", ""), message_sid(raw)]
    if kind is Kind.STATUS:
        parts += [message_status(raw), raw.get("ErrorCode", "")]
    # NUL separates ("a", "bc") from ("ab", "c"); SIDs and statuses contain none, and requests
    # signed by Twilio are not crafted to collide.
    return blake2b("\0".join(parts).encode("utf-8", "replace"), digest_size=KEY_BYTES).digest()


def request_key(account_sid: str, key: str) -> bytes:
    """Return the 16 bytes that stand for the key of a send that answers no message."""
    text = f"send\0{account_sid}\0{key}".encode("utf-8", "replace")
    return blake2b(text, digest_size=KEY_BYTES).digest()


def is_status(raw: Mapping[str, str]) -> bool:
    """Return whether a form is a delivery status, whatever URL it was sent to.

    Only inbound messages have the status `received`.
    """
    status = raw.get("MessageStatus") or raw.get("SmsStatus")
    return bool(status) and status not in _RECEIVED


def lane_of(kind: Kind, raw: Mapping[str, str]) -> str:
    """Return the lane, within which webhooks are handled one at a time, first in, first out.

    A message's lane is its conversation. A status's lane is its MessageSid, so that a blocked
    conversation does not delay delivery statuses.
    """
    account = raw.get("AccountSid", "")
    if kind is Kind.STATUS:
        return f"{account}|{message_sid(raw)}"
    sender, recipient = folded(raw.get("From", "")), folded(raw.get("To", ""))
    return lane_and_alias(account, sender, recipient, raw)[0]


def lane_and_alias(
    account_sid: str, sender: str, recipient: str, raw: Mapping[str, str]
) -> tuple[str, str]:
    """Return the lane of a message, and the lane that its sender's user id alone would lead to.

    The second is empty for a person without a user id. If the number is known, the first is the
    number's lane, so that a number's messages need not look for an alias.

    Args:
        account_sid: the message's.
        sender: its address, folded.
        recipient: likewise.
        raw: its parameters.
    """
    if not may_have_user_id(sender, raw):
        return f"{account_sid}|{recipient}|{sender}", ""
    person = identity_of(sender, raw)
    alias = f"{account_sid}|{recipient}|{person.user_id}" if person.user_id else ""
    return f"{account_sid}|{recipient}|{person.address}", alias


def conversation(account_sid: str, *, ours: str, theirs: str) -> str:
    """Return the lane of a conversation, for inbound messages and for the replies to them."""
    return f"{account_sid}|{folded(ours)}|{folded(theirs)}"


def person_of(lane: str) -> str:
    """Return the person's address in the name of a conversation's lane."""
    return lane.rpartition("|")[2]
