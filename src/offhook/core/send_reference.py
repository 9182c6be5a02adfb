"""The reference to a send in the URL of its status callback: its number, and a MAC."""

import hashlib
import hmac
from collections.abc import Sequence
from typing import Final

FIELD: Final = "send"
"""The query's name for it, under which an ingress keeps it too."""

_MAC_LENGTH: Final = 24  # hexadecimal digits: 96 bits


def send_reference(send_id: int, account_sid: str, auth_token: str) -> str:
    """Return the reference to a send, which can't be forged for another.

    Args:
        send_id: its number in the ledger.
        account_sid: that sends it, and is to sign what is said of it.
        auth_token: keys the MAC.
    """
    return f"{send_id}.{_mac(str(send_id), account_sid, auth_token)}"


def referred_send(reference: str, account_sid: str, auth_tokens: Sequence[str]) -> int | None:
    """Return which send is meant; None when the reference is not one of ours for this account.

    Args:
        reference: as it came back.
        account_sid: that has signed what is said of it.
        auth_tokens: any of which may have keyed the MAC.
    """
    number, _, mac = reference.partition(".")
    if not reference.isascii():
        return None
    made = [_mac(number, account_sid, token) for token in auth_tokens]
    # What has a MAC of ours is a number, and one that the ledger has given.
    return int(number) if any(hmac.compare_digest(one, mac) for one in made) else None


def _mac(number: str, account_sid: str, auth_token: str) -> str:
    text = f"offhook send\0{account_sid}\0{number}".encode("utf-8", "surrogatepass")
    return hmac.digest(auth_token.encode(), text, hashlib.sha256).hex()[:_MAC_LENGTH]
