"""offhook answers Twilio's webhooks: at once, never lost, never handled twice, in order."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from offhook.app import Offhook
    from offhook.conversations.conversation import Conversation
    from offhook.core.account import AccountCredentials
    from offhook.core.messages import Reply, Send, StatusUpdate, Template
    from offhook.core.turns import Turn
    from offhook.errors import (
        Discard,
        InvalidReply,
        InvalidSend,
        InvalidState,
        LeaseLost,
        MediaError,
        OffhookError,
        RetryLater,
    )
    from offhook.worker.media import Media
    from offhook.worker.message import Message

__version__ = "0.2.0"

__all__ = [
    "AccountCredentials",
    "Conversation",
    "Discard",
    "InvalidReply",
    "InvalidSend",
    "InvalidState",
    "LeaseLost",
    "Media",
    "MediaError",
    "Message",
    "Offhook",
    "OffhookError",
    "Reply",
    "RetryLater",
    "Send",
    "StatusUpdate",
    "Template",
    "Turn",
]

_MODULES = {
    "Conversation": "offhook.conversations.conversation",
    "AccountCredentials": "offhook.core.account",
    "Offhook": "offhook.app",
    "Media": "offhook.worker.media",
    "Message": "offhook.worker.message",
    "Reply": "offhook.core.messages",
    "Send": "offhook.core.messages",
    "StatusUpdate": "offhook.core.messages",
    "Template": "offhook.core.messages",
    "Turn": "offhook.core.turns",
}


def __getattr__(name: str) -> Any:
    """Load a public name when it is first asked for: `offhook --help` needs none of them."""
    if name not in __all__:
        raise AttributeError(f"module 'offhook' has no attribute {name!r}")
    return getattr(import_module(_MODULES.get(name, "offhook.errors")), name)
