"""Numbers and texts as they may stand in a log, or be seen by who has not asked for them."""

import re
from typing import Final

_HEAD: Final = 5  # "+1555": the country and the area say where trouble is, not who has it
_TAIL: Final = 4  # what people compare with when they look for one message
_HIDDEN: Final = 3  # digits that are gone, at least: fewer are soon guessed

_OURS: Final = re.compile(r"(?:sender-limit|loop-suspected): [a-z0-9. ]+", re.ASCII)
"""Reasons in our own words, which quote nobody: `worker.decide`."""

_FRAME: Final = '  File "'
_TYPE: Final = re.compile(r"[^\W\d][\w.<>]*")


def mask(address: str) -> str:
    """Return an address whose middle is gone: `+1555***0001`, `whatsapp:+1555***0001`.

    What is too short to hide anything in shows nothing at all.
    """
    prefix, colon, number = address.rpartition(":")
    if len(number) < _HEAD + _HIDDEN + _TAIL:
        return f"{prefix}{colon}***" if number else address
    return f"{prefix}{colon}{number[:_HEAD]}***{number[-_TAIL:]}"


def brief(error: str, *, reveal: bool) -> str:
    """Return the last line of an error; unrevealed, only its type: the rest may quote people.

    Of a text that is no traceback, what stands before its first colon shows, when it is of one
    line; of several lines, any may be a person's.
    """
    if reveal:
        return printable(last_line(error))
    lines = error.strip("\r\n").splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith(_FRAME)]
    if frames:
        return _type_in(lines[frames[-1] + 1 :])
    if len(lines) != 1:
        return ""
    line = printable(lines[0].strip())
    return line if _OURS.fullmatch(line) else line.partition(": ")[0]


def _type_in(lines: list[str]) -> str:
    """Return the type of the exception that follows a traceback's last frame; empty without one."""
    first = next((line for line in lines if line and not line[0].isspace()), "")
    name = first.partition(":")[0]
    return name if _TYPE.fullmatch(name) else ""


def last_line(error: str) -> str:
    """Return the end of a traceback: the exception and what it says."""
    lines = error.strip().splitlines()
    return lines[-1].strip() if lines else ""


def printable(text: str) -> str:
    """Return a text that stays on its line: anybody may send an unsigned request with any SID."""
    return "".join(char if char.isprintable() else "?" for char in text)
