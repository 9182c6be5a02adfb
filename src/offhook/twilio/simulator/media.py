"""The files of people's messages, as the simulated Twilio keeps them.

https://www.twilio.com/docs/messaging/api/media-resource: the resource requires the account's
credentials, and redirects to a URL of another host that requires none, and refuses them.
"""

import asyncio
import secrets
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import urlsplit

from starlette.requests import Request
from starlette.responses import PlainTextResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Route

from offhook.core.messages import Attachment
from offhook.twilio.simulator.faults import Trouble
from offhook.twilio.simulator.payloads import API_VERSION
from offhook.twilio.simulator.rest_errors import NOT_FOUND, Authentication

KEPT: Final = 1_000
"""Files; older ones are dropped. Twilio keeps them until they are deleted."""

DEFAULT_API: Final = "https://api.twilio.com"
_STORAGE: Final = f"/{API_VERSION}/Storage"
_CHUNK: Final = bytes(64 * 1024)


@dataclass(frozen=True, slots=True)
class File:
    """A file that a person attaches to a message: its URL is Twilio's, and leads to its content.

    Args:
        content: its bytes.
        content_type: its type.
    """

    content: bytes = field(repr=False)
    content_type: str = "image/jpeg"


@dataclass(slots=True)
class _Kept:
    file: File
    path: str
    key: str
    missing: int = 0


class MediaStore:
    """Keeps files, and serves them.

    Args:
        auth: authenticates requests.
        new_sid: makes a SID from its prefix.
        trouble: returns the faults to inject.

    Attributes:
        base: the URL at which the REST API is served.
    """

    def __init__(
        self, auth: Authentication, new_sid: Callable[[str], str], trouble: Callable[[], Trouble]
    ) -> None:
        self.base = DEFAULT_API
        self._auth = auth
        self._new_sid = new_sid
        self._trouble = trouble
        self._kept: OrderedDict[str, _Kept] = OrderedDict()  # by their SIDs
        one = f"/{API_VERSION}/Accounts/{{account}}/Messages/{{message}}/Media/{{sid}}"
        self.routes = [
            Route(f"{one}.json", self._delete, methods=["DELETE"]),
            Route(one, self._redirect, methods=["GET"]),
            Route(f"{_STORAGE}/{{key}}", self._content, methods=["GET"]),
        ]

    def keep(self, message_sid: str, file: File) -> Attachment:
        """Keep a file of a message."""
        sid = self._new_sid("ME")
        owner = f"/{API_VERSION}/Accounts/{self._auth.account_sid}"
        path = f"{owner}/Messages/{message_sid}/Media/{sid}"
        self._kept[sid] = _Kept(file, path, secrets.token_urlsafe(16))
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return Attachment(f"{self.base}{path}", file.content_type)

    def _find(self, request: Request) -> _Kept | None:
        kept = self._kept.get(request.path_params["sid"])
        return kept if kept and request.url.path.removesuffix(".json") == kept.path else None

    async def _redirect(self, request: Request) -> Response:
        if refused := self._auth.refused(request):
            return refused.response()
        kept = self._find(request)
        if kept is None:
            return NOT_FOUND.response()
        kept.missing += 1
        if kept.missing <= self._trouble().media_missing:
            return NOT_FOUND.response()
        return RedirectResponse(f"{_elsewhere(self.base)}{_STORAGE}/{kept.key}", 307)

    async def _delete(self, request: Request) -> Response:
        if refused := self._auth.refused(request):
            return refused.response()
        if self._find(request) is None:
            return NOT_FOUND.response()
        del self._kept[request.path_params["sid"]]
        return Response(status_code=204)

    async def _content(self, request: Request) -> Response:
        if "Authorization" in request.headers:  # as S3 does
            return PlainTextResponse("Only one auth mechanism allowed", 400)
        key = request.path_params["key"]
        kept = next((one for one in self._kept.values() if one.key == key), None)
        if kept is None:
            return PlainTextResponse("AccessDenied", 403)
        if self._trouble().endless_media:
            return StreamingResponse(_endless(), media_type=kept.file.content_type)
        return Response(kept.file.content, media_type=kept.file.content_type)


def _elsewhere(base: str) -> str:
    """Return a base URL that leads to this server by another host's name, if there is one."""
    parts = urlsplit(base)
    name = "127.0.0.1" if parts.hostname == "localhost" else "localhost"
    port = f":{parts.port}" if parts.port else ""
    return f"{parts.scheme}://{name}{port}"


async def _endless() -> AsyncIterator[bytes]:
    while True:
        yield _CHUNK
        await asyncio.sleep(0)
