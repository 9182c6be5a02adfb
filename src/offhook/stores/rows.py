"""What both stores make of their rows, and what they agree on."""

from typing import Final

SLOW_NOTICE: Final = "notice:slow"
"""The one notice that a settled message does not want any more."""
