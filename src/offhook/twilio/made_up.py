"""Credentials that only simulators know."""

import secrets
from typing import Final, NamedTuple

MADE_UP: Final = "0" * 8
"""The prefix of made-up credentials. A real account's has it by chance once in 4 billion."""


class Credentials(NamedTuple):
    """An account that only simulators know."""

    account_sid: str
    auth_token: str


def made_up_credentials() -> Credentials:
    """Make up an account SID and an auth token."""
    return Credentials(f"AC{MADE_UP}{secrets.token_hex(12)}", f"{MADE_UP}{secrets.token_hex(12)}")
