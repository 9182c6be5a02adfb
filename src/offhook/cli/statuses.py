"""Exit statuses that say more than that it failed."""

from typing import Final

from offhook.errors import OffhookError, StoreBroken

STORE_BROKEN: Final = 3
"""The store's file is gone, replaced or damaged: to start again at once would be in vain."""


def exit_status(error: OffhookError) -> int:
    """Return the status with which a process ends because of an error."""
    return STORE_BROKEN if isinstance(error, StoreBroken) else 1
