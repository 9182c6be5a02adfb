"""What was said in a conversation, as its handler asks for it."""

from collections.abc import Callable, Generator
from typing import Any

from offhook.core.calls import Call
from offhook.core.turns import Turn

Ask = Callable[[int, str], Call[list[Turn]]]
"""Reads so many of the last turns; with the line that calls, for the error if it is not awaited."""


class Turns(list[Turn]):
    """Turns. They may be awaited, and need not be where they are there already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, list[Turn]]:
        """Return the turns."""
        return self
        yield  # which makes it a generator
