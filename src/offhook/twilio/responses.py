"""Responses of other servers, read within bounds of size, depth and type."""

import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import httpx2

from offhook.core.lifecycle import STATUSES
from offhook.core.texts import well_formed

MAX_BYTES: Final = 64 * 1024
"""Bytes of an answer that are read: Twilio's on one message have 1 kB, and of a webhook's answer it
reads no more itself (https://www.twilio.com/docs/api/errors/11750)."""

_TEXT: Final = 2048  # characters of a text that are kept: a URL at Twilio has no more
_WORDS: Final = 200  # of an error of the client, which may quote what it could not read
_MESSAGE_SID: Final = re.compile(r"(?:SM|MM)[0-9a-fA-F]{32}")
_CODES: Final = range(1_000_000)

IDENTITY: Final[Mapping[str, str]] = {"Accept-Encoding": "identity"}
"""Headers of every request: a compressed response could expand to any size."""


def bounded(most: int = MAX_BYTES, *, encoded: bool = False) -> dict[str, Any]:
    """Return `event_hooks` for an HTTP client that bound how much of a response is read.

    Args:
        most: the bound, in bytes.
        encoded: whether responses may be compressed; an unrequested encoding is not decoded, and
            the response is then not JSON.
    """

    async def bound(response: httpx2.Response) -> None:
        if not encoded:
            response.headers.pop("Content-Encoding", None)
        if isinstance(response.stream, httpx2.AsyncByteStream):
            response.stream = _Head(response.stream, most)

    return {"response": [bound]}


class _Head(httpx2.AsyncByteStream):
    """The first bytes of a stream. The connection of one that has more is closed."""

    def __init__(self, stream: httpx2.AsyncByteStream, most: int) -> None:
        self._stream = stream
        self._most = most

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = self._most
        async for part in self._stream:
            yield part[:left]
            left -= len(part)
            if left <= 0:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


def object_of(response: httpx2.Response) -> Mapping[str, Any]:
    """Return the JSON object of a response; an empty one if it has none."""
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def text_of(answer: Mapping[str, Any], name: str) -> str:
    """Return a text field, safe to store, log and show; empty if it is not a string."""
    value = answer.get(name)
    return one_line(value) if isinstance(value, str) else ""


def code_of(answer: Mapping[str, Any]) -> str:
    """Return Twilio's error code; empty without one."""
    code = answer.get("code")
    return str(code) if type(code) is int and code in _CODES else ""


def sid_of(answer: Mapping[str, Any]) -> str:
    """Return the SID of a message; empty if it is malformed."""
    sid = answer.get("sid")
    return sid if isinstance(sid, str) and _MESSAGE_SID.fullmatch(sid) else ""


def status_of(answer: Mapping[str, Any]) -> str:
    """Return the status of a message; empty if Twilio has no such status."""
    status = answer.get("status")
    return status if isinstance(status, str) and status in STATUSES else ""


def error_text(error: Exception) -> str:
    """Describe an error. Errors of the HTTP client quote no part of the request."""
    return one_line(f"{type(error).__name__} {error}".rstrip(), _WORDS)


def one_line(text: str, most: int = _TEXT) -> str:
    """Return the beginning of an untrusted text, on one line."""
    text = well_formed(text[:most])
    return "".join(char if char.isprintable() else " " for char in text)
