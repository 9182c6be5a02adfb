"""Live pages: render their pieces periodically, and send those that changed."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

from offhook.concurrency import wait_for_event
from offhook.errors import StoreError

# Streams end after five minutes; the browser reconnects, which checks its login again.
_LASTS: Final = 300.0  # seconds
_CACHED: Final = 1.0  # seconds
_RETRY: Final = 1000  # ms until a browser reconnects
# At most a twentieth of the time is spent on one reader's queries.
_SHARE: Final = 20.0


@dataclass(frozen=True, slots=True)
class View:
    """A page's templates and values.

    Attributes:
        template: of the whole page.
        pieces: templates of the parts that change, by element id.
        values: of the templates.
        status: the HTTP status.
    """

    template: str
    pieces: Mapping[str, str]
    values: Mapping[str, Any]
    status: int = 200


Render = Callable[..., str]
BuildView = Callable[[], Awaitable[View]]
T = TypeVar("T")


class Cached(Generic[T]):
    """A result shared by all readers for a second; concurrent readers wait for one fetch.

    Args:
        fetch: returns the result. What it raises reaches its caller and is not cached.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, fetch: Callable[[], Awaitable[T]], *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._fetch = fetch
        self._clock = clock
        self._lock = asyncio.Lock()
        self._result: tuple[T, float] | None = None  # and when it expires

    async def get(self) -> T:
        """Return the result, fetched at most a second ago."""
        async with self._lock:
            if self._result is None or self._clock() >= self._result[1]:
                self._result = await self._fetch(), self._clock() + _CACHED
            return self._result[0]


class Streams:
    """Streams of server-sent events, one for each open page.

    https://html.spec.whatwg.org/multipage/server-sent-events.html

    Args:
        render: renders a template, given its name and values.
    """

    def __init__(self, render: Render) -> None:
        self._render = render
        self._closed = asyncio.Event()

    def close(self) -> None:
        """End all streams."""
        self._closed.set()

    async def follow(self, make: BuildView, *, period: float, csrf: str) -> AsyncIterator[str]:
        """Yield changed pieces, for five minutes.

        Args:
            make: builds the view.
            period: seconds between two updates, at least.
            csrf: see `dashboard.CSRF`.
        """
        loop = asyncio.get_running_loop()
        end = loop.time() + _LASTS
        shown: dict[str, str] = {}
        yield f"retry: {_RETRY}\n\n"
        while not self._closed.is_set() and loop.time() < end:
            began = loop.time()
            try:
                view = await make()
            except StoreError as error:
                yield _event("away", str(error))
            else:
                values = {**view.values, "csrf": csrf}
                made = {id_: self._render(name, **values) for id_, name in view.pieces.items()}
                fresh = {id_: html for id_, html in made.items() if shown.get(id_) != html}
                shown = made
                yield _event("pieces", fresh) if fresh else ":\n\n"
            await wait_for_event(self._closed, max(period, _SHARE * (loop.time() - began)))


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data)}\n\n"
