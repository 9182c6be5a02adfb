"""Attached files, kept in memory and served under unguessable URLs."""

import mimetypes
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePosixPath
from typing import Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response

MAX_BYTES: Final = 5 * 1024 * 1024
"""Of one message's media: https://www.twilio.com/docs/messaging/guides/accepted-mime-types"""

_KEPT: Final = 20

# An arbitrary file must not run as a page of this origin.
_HEADERS: Final = {
    "Content-Security-Policy": "default-src 'none'; sandbox",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
    "Cache-Control": "private, max-age=3600",
}


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An attached file.

    Attributes:
        key: the unguessable part of its URL.
    """

    key: str
    name: str
    content: bytes


class Attachments:
    """The latest twenty files. Their URLs need no cookie, since the bot fetches them.

    Args:
        base: the prefix of the URLs.
    """

    def __init__(self, base: str) -> None:
        self._base = base
        self._files: OrderedDict[str, StoredFile] = OrderedDict()

    @property
    def files(self) -> tuple[StoredFile, ...]:
        """All of them, the oldest first."""
        return tuple(self._files.values())

    def keep(self, name: str, content: bytes) -> str:
        """Keep a file; return its URL."""
        key = secrets.token_urlsafe(16)
        name = PurePosixPath(name).name or "file"  # a slash would be a path of the URL
        self.restore(StoredFile(key, name, content))
        return f"{self._base}/{key}/{quote(name, safe='')}"

    def restore(self, file: StoredFile) -> None:
        """Keep a file under the URL that it has."""
        self._files[file.key] = file
        while len(self._files) > _KEPT:
            self._files.popitem(last=False)

    def answer(self, request: Request) -> Response:
        """Answer a request for a file."""
        file = self._files.get(request.path_params["key"])
        if file is None:
            return PlainTextResponse("not found\n", HTTPStatus.NOT_FOUND)
        kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
        return Response(file.content, media_type=kind, headers=_HEADERS)
