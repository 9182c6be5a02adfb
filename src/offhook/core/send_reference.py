"""The reference to a send in the URL of its status callback: its number, and a MAC."""

import hashlib
import hmac
from collections.abc import Sequence
from functools import lru_cache
from typing import Final

FIELD: Final = "send"
"""The name of the query parameter, and of the field under which an ingress stores it."""

_MAC_LENGTH: Final = 24  # hexadecimal digits: 96 bits


def send_reference(send_id: int, account_sid: str, auth_token: str) -> str:
    """Return an unforgeable reference to a send.

    Args:
        send_id: its id in the ledger.
        account_sid: the account that sends it and signs its status callbacks.
        auth_token: the key of the MAC.
    """
    return f"{send_id}.{_mac(str(send_id), account_sid, auth_token)}"


def referred_send(reference: str, account_sid: str, auth_tokens: Sequence[str]) -> int | None:
    """Return the id of the send; None if the reference is not valid for this account.

    Args:
        reference: as received in a status callback.
        account_sid: the account that signed the callback.
        auth_tokens: the possible keys of the MAC.
    """
    number, _, mac = reference.partition(".")
    if not reference.isascii():
        return None
    made = [_mac(number, account_sid, token) for token in auth_tokens]
    # With a valid MAC, it is an id from the ledger.
    return int(number) if any(hmac.compare_digest(one, mac) for one in made) else None


def _mac(number: str, account_sid: str, auth_token: str) -> str:
    text = f"offhook send\0{account_sid}\0{number}".encode("utf-8", "surrogatepass")
    mac = _keyed(auth_token).copy()
    mac.update(text)
    return mac.hexdigest()[:_MAC_LENGTH]


@lru_cache(maxsize=8)
def _keyed(auth_token: str) -> hmac.HMAC:
    """Return the MAC of nothing: to copy it costs half of making one."""
    return hmac.new(auth_token.encode(), digestmod=hashlib.sha256)
