"""The account of the message or status that is being handled: its handler sends with it."""

from contextvars import ContextVar
from typing import Final

CURRENT_ACCOUNT: Final[ContextVar[str]] = ContextVar("offhook_account", default="")
"""Set in the context of a run, and so in what its handler starts; empty outside a handler."""
