"""Numbers and texts as they may stand in a log, or be seen by who has not asked for them."""

import json
import re
import traceback
from collections.abc import Mapping
from typing import Any, Final

from offhook.core.reasons import Error, Explanation

_DEPTH: Final = 5  # errors behind errors, and within groups

OURS: Final = frozenset({"offhook", "uvicorn", "asyncio"})
"""Whose loggers log errors that nobody has worded for the log. A user's own says what it likes."""


def is_ours(logger: str) -> bool:
    """Return whether a logger is one of `OURS`, or below one."""
    return logger.partition(".")[0] in OURS


def outline(error: BaseException, depth: int = _DEPTH) -> str:
    """Return an error's types and lines of source, and those of what is behind it."""
    behind: list[BaseException] = []
    if error.__cause__ is not None:
        behind = [error.__cause__]
    elif error.__context__ is not None and not error.__suppress_context__:
        behind = [error.__context__]
    if isinstance(error, BaseExceptionGroup):
        behind += error.exceptions
    parts = [outline(one, depth - 1) for one in behind] if depth else []
    frames = "".join(traceback.format_tb(error.__traceback__))
    own = f"Traceback (most recent call last):\n{frames}{type(error).__name__}"
    return "\n".join([*parts, own])


_HEAD: Final = 5  # "+1555": the country and the area say where trouble is, not who has it
_TAIL: Final = 4  # what people compare with when they look for one message
_HIDDEN: Final = 3  # digits that are gone, at least: fewer are soon guessed

_FRAME: Final = '  File "'
_TYPE: Final = re.compile(r"[^\W\d][\w.<>]*")
# Of a line without a traceback: a word alone may be a person's name.
_EXCEPTION: Final = re.compile(r"(?:[^\W\d]\w*\.)*\w*(?:Error|Exception|Timeout|Interrupt|Exit)")

# Control characters, marks of direction and half characters are among them.
_OTHER: Final = re.compile(r"[^ -~]", re.ASCII)
_JOINERS: Final = "\u200c\u200d"  # emoji and some scripts are written with them

_NUMBER: Final = re.compile(r"(?<!\w)(?:\+\d[\d ()-]{5,}\d|\d{7,})")


def mask(address: str) -> str:
    """Return an address whose middle is gone: `+1555***0001`, `whatsapp:+1555***0001`.

    What is too short to hide anything in shows nothing at all.
    """
    prefix, colon, number = address.rpartition(":")
    if len(number) < _HEAD + _HIDDEN + _TAIL:
        return f"{prefix}{colon}***" if number else address
    return f"{prefix}{colon}{number[:_HEAD]}***{number[-_TAIL:]}"


def mask_numbers(text: str) -> str:
    """Return a text, of ours or Twilio's, with the phone numbers in it masked."""
    return _NUMBER.sub(lambda found: mask(found[0]), text)


def brief(error: Error, *, reveal: bool) -> str:
    """Return the last line of an error; unrevealed, only its type: the rest may quote people.

    A text that is no traceback is a handler's (`Discard`, `RetryLater`), and may quote people too:
    of it nothing shows but the type of an exception before its first colon. Explanations show.
    """
    if reveal or isinstance(error, Explanation):
        return printable(last_line(error))
    lines = error.strip("\r\n").splitlines()
    frames = [number for number, line in enumerate(lines) if line.startswith(_FRAME)]
    if frames:
        return _type_in(lines[frames[-1] + 1 :])
    if len(lines) != 1:
        return ""
    line = printable(lines[0].strip())
    name = line.partition(":")[0]
    return name if _EXCEPTION.fullmatch(name) else ""


def _type_in(lines: list[str]) -> str:
    """Return the type of the exception that follows a traceback's last frame; empty without one."""
    first = next((line for line in lines if line and not line[0].isspace()), "")
    name = first.partition(":")[0]
    return name if _TYPE.fullmatch(name) else ""


def last_line(error: Error) -> str:
    """Return the end of a traceback: the exception and what it says."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else ""


def printable(text: str) -> str:
    """Return a text that stays on its line: anybody may send an unsigned request with any SID."""
    return _OTHER.sub(lambda found: _shown(found[0], instead="?"), text)


def printable_lines(text: str) -> str:
    """Return a text of several lines that can't command a terminal, nor turn its order around."""
    return "\n".join(map(printable, text.replace("\t", "    ").split("\n")))


def json_line(shown: Mapping[str, Any]) -> str:
    """Return an object as JSON on one line, in which what is not printable is escaped."""
    made = json.dumps(shown, ensure_ascii=False, default=str)
    return _OTHER.sub(lambda found: _shown(found[0], instead=json.dumps(found[0])[1:-1]), made)


def _shown(char: str, *, instead: str) -> str:
    return char if char.isprintable() or char in _JOINERS else instead
