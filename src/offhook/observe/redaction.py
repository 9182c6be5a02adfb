"""Redact phone numbers, texts and tracebacks for logs and for unrevealed pages."""

import json
import re
import traceback
from collections.abc import Mapping
from typing import Any, Final

from offhook.core.reasons import Error, Explanation

_DEPTH: Final = 5  # of causes and exception groups

OURS: Final = frozenset({"offhook", "uvicorn", "asyncio"})
"""Loggers whose tracebacks are redacted; those of the user's own loggers are not."""


def is_ours(logger: str) -> bool:
    """Return whether a logger is one of `OURS`, or below one."""
    return logger.partition(".")[0] in OURS


def outline(error: BaseException, depth: int = _DEPTH) -> str:
    """Return the traceback of an error and its causes without their messages."""
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


_HEAD: Final = 5  # "+1555": country and area locate a problem without identifying a person
_TAIL: Final = 4  # enough to recognize a number when looking for one message
_HIDDEN: Final = 3  # the fewest digits to hide: fewer are easily guessed

_FRAME: Final = '  File "'
_TYPE: Final = re.compile(r"[^\W\d][\w.<>]*")
# For a line without a traceback, where a single word may be a person's name.
_EXCEPTION: Final = re.compile(r"(?:[^\W\d]\w*\.)*\w*(?:Error|Exception|Timeout|Interrupt|Exit)")

# Includes control characters, direction marks and lone surrogates.
_OTHER: Final = re.compile(r"[^ -~]", re.ASCII)
_JOINERS: Final = "\u200c\u200d"  # part of emoji and of some scripts

_NUMBER: Final = re.compile(
    r"(?<!\w)(?:\+\d[\d ()-]{5,}\d|[A-Z]{2}\.(?:[A-Z]+\.)?(?=[A-Za-z]*\d)[A-Za-z0-9]{7,}|\d{7,})"
)
"""A number, or a user id of WhatsApp's (`US.13491208655302741918`)."""


def mask(address: str) -> str:
    """Return a masked address: `+1555***0001`, `whatsapp:+1555***0001`, `whatsapp:US.13***1918`.

    A number too short to hide enough digits is masked whole.
    """
    prefix, colon, number = address.rpartition(":")
    if len(number) < _HEAD + _HIDDEN + _TAIL:
        return f"{prefix}{colon}***" if number else address
    return f"{prefix}{colon}{number[:_HEAD]}***{number[-_TAIL:]}"


def mask_numbers(text: str) -> str:
    """Return a text, of ours or Twilio's, with the phone numbers and user ids in it masked."""
    return _NUMBER.sub(lambda found: mask(found[0]), text)


def brief(error: Error, *, reveal: bool) -> str:
    """Return the last line of an error; unrevealed, its type only: the rest may quote users' text.

    A text without a traceback is a handler's (`Discard`, `RetryLater`) and may quote users' text:
    only the type of an exception before its first colon is shown. Explanations are shown whole.
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
    """Return the last line of a traceback: the exception and its message."""
    lines = str(error).strip().splitlines()
    return lines[-1].strip() if lines else ""


def printable(text: str) -> str:
    """Return a text without control characters: unsigned requests can hold any SID."""
    return _OTHER.sub(lambda found: _shown(found[0], instead="?"), text)


def printable_lines(text: str) -> str:
    """Return several lines without control characters and direction marks."""
    return "\n".join(map(printable, text.replace("\t", "    ").split("\n")))


def json_line(shown: Mapping[str, Any]) -> str:
    """Return an object as one line of JSON, with unprintable characters escaped."""
    made = json.dumps(shown, ensure_ascii=False, default=str)
    return _OTHER.sub(lambda found: _shown(found[0], instead=json.dumps(found[0])[1:-1]), made)


def _shown(char: str, *, instead: str) -> str:
    return char if char.isprintable() or char in _JOINERS else instead
