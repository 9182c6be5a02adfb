"""Numbers and texts as they may stand in a log."""

from typing import Final

_HEAD: Final = 5  # "+1555": the country and the area say where trouble is, not who has it
_TAIL: Final = 4  # what people compare with when they look for one message


def mask(address: str) -> str:
    """Return an address whose middle is gone: `+1555***0001`, `whatsapp:+1555***0001`.

    What is too short to hide anything in shows nothing at all.
    """
    prefix, colon, number = address.rpartition(":")
    if len(number) < _HEAD + _TAIL:
        return f"{prefix}{colon}***" if number else address
    return f"{prefix}{colon}{number[:_HEAD]}***{number[-_TAIL:]}"


def printable(text: str) -> str:
    """Return a text that stays on its line: anybody may send an unsigned request with any SID."""
    return "".join(char if char.isprintable() else "?" for char in text)
