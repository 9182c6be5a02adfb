"""Exit statuses other than 0 and 1."""

from typing import Final

from offhook.errors import OffhookError, StoreBroken

STORE_BROKEN: Final = 3
"""The store's file is gone, replaced or damaged: starting again at once would not help."""


def exit_status(error: OffhookError) -> int:
    """Return the status with which a process ends because of an error."""
    return STORE_BROKEN if isinstance(error, StoreBroken) else 1
