"""Pages of the simulated REST API's lists."""

from collections.abc import Mapping, Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import urlencode

from starlette.requests import Request

T = TypeVar("T")

_MAX_PAGE: Final = 1_000
_DEFAULT_PAGE: Final = 50


class Page(NamedTuple):
    """The page that a request asks for, by its number from 0 and its size."""

    number: int
    size: int

    @classmethod
    def of(cls, request: Request) -> "Page":
        """Read the parameters of a request."""
        size = min(_MAX_PAGE, max(1, _whole(request, "PageSize", _DEFAULT_PAGE)))
        return cls(_whole(request, "Page", 0), size)

    def part(self, found: Sequence[T]) -> Sequence[T]:
        """Return what is on the page."""
        return found[self.number * self.size : (self.number + 1) * self.size]

    def has_more(self, found: Sequence[T]) -> bool:
        """Return whether another page follows."""
        return len(found) > (self.number + 1) * self.size


def listed(request: Request, key: str, found: Sequence[Any]) -> Mapping[str, Any]:
    """Return a page of a list in the format of the 2010 API."""
    page = Page.of(request)
    following = {**request.query_params, "Page": page.number + 1, "PageSize": page.size}
    return {
        key: page.part(found),
        "page": page.number,
        "page_size": page.size,
        "next_page_uri": f"{request.url.path}?{urlencode(following)}"
        if page.has_more(found)
        else None,
        "uri": request.url.path,
    }


def _whole(request: Request, name: str, default: int) -> int:
    text = request.query_params.get(name, "")
    return int(text) if text.isascii() and text.isdigit() else default
