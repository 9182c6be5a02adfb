"""Where an error came from, without its words: they may quote what a person wrote."""

import traceback
from typing import Final

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
