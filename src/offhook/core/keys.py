"""The keys of webhooks: what identifies duplicates, and what orders messages (lanes)."""

from collections.abc import Mapping
from enum import StrEnum
from hashlib import blake2b
from typing import Final

from offhook.core.addresses import folded
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
    return conversation(account, ours=raw.get("To", ""), theirs=raw.get("From", ""))


def conversation(account_sid: str, *, ours: str, theirs: str) -> str:
    """Return the lane of a conversation, for inbound messages and for the replies to them."""
    return f"{account_sid}|{folded(ours)}|{folded(theirs)}"
