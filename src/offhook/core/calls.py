"""A call of a message's method: awaited, or, in a `def` handler, done at once."""

import inspect
from collections.abc import Callable, Coroutine, Generator
from typing import Any, Generic, TypeVar, cast

T = TypeVar("T")


class Call(Coroutine[Any, Any, T], Generic[T]):
    """A coroutine that knows where it was called, and whether anybody has awaited it.

    Where it is done already, it has the attributes of its result, and may still be awaited.

    Args:
        start: makes the coroutine; called when it is first awaited.
        what: the call as people write it, for errors.
        where: the caller's file and line, for errors.

    Attributes:
        is_done: whether it was done at once.
    """

    __slots__ = ("_coroutine", "_result", "_start", "is_done", "what", "where")

    def __init__(self, start: Callable[[], Coroutine[Any, Any, T]], what: str, where: str) -> None:
        self._start = start
        self._coroutine: Coroutine[Any, Any, T] | None = None
        self._result: T | None = None
        self.is_done = False
        self.what = what
        self.where = where

    @property
    def begun(self) -> bool:
        """Whether it was awaited, or made a task of that has begun."""
        return self._coroutine is not None

    @classmethod
    def done(cls, result: T, what: str, where: str) -> "Call[T]":
        """Return a call that has ended."""

        async def returned() -> T:
            return result

        call = cls(returned, what, where)
        call._result = result
        call.is_done = True
        return call

    @property
    def result(self) -> T:
        """What a call that is done has returned."""
        if not self.is_done:
            raise AttributeError(f"{self.what} has no result yet: await it ({self.where})")
        return cast("T", self._result)

    def send(self, value: Any) -> Any:
        """Go on with the coroutine."""
        return self._begin().send(value)

    def throw(self, *error: Any) -> Any:
        """Raise an error within the coroutine."""
        return self._begin().throw(*error)

    def close(self) -> None:
        """End the coroutine, if it has begun."""
        if self._coroutine is not None:
            self._coroutine.close()

    def __await__(self) -> Generator[Any, Any, T]:
        """Begin it."""
        return self._begin().__await__()

    def __getattr__(self, name: str) -> Any:
        """Return an attribute of the result."""
        if self._result is None or name.startswith("_"):
            raise AttributeError(f"{self.what} has no {name!r} yet: await it ({self.where})")
        return getattr(self._result, name)

    def _begin(self) -> Coroutine[Any, Any, T]:
        if self._coroutine is None:
            self._coroutine = self._start()
        return self._coroutine


def caller(depth: int = 1) -> str:
    """Return the file and the line that called the function which asks, or its callers'.

    Args:
        depth: 1 for the caller of the function that asks, 2 for that one's caller, ...
    """
    frame = inspect.currentframe()
    for _ in range(depth + 1):
        frame = frame.f_back if frame is not None else None
    return "an unknown line" if frame is None else f"{frame.f_code.co_filename}:{frame.f_lineno}"
