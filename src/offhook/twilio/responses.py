"""Answers of other servers, read within bounds of size, depth and shape."""

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
"""Headers of every request: what is compressed may be any number of times as long."""


def bounded(most: int = MAX_BYTES, *, encoded: bool = False) -> dict[str, Any]:
    """Return an HTTP client's `event_hooks`, by which no more of an answer is read.

    Args:
        most: bytes.
        encoded: whether answers may be compressed; what is so though nobody asked for it is not
            decoded, and so is no JSON.
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
    """Return the object that an answer holds; an empty one when it holds none."""
    try:
        answer = json.loads(response.content)
    except (ValueError, RecursionError):
        return {}
    return answer if isinstance(answer, dict) else {}


def text_of(answer: Mapping[str, Any], name: str) -> str:
    """Return a text as it can be stored, logged and shown; empty where there is no text."""
    value = answer.get(name)
    return one_line(value) if isinstance(value, str) else ""


def code_of(answer: Mapping[str, Any]) -> str:
    """Return Twilio's error code; empty without one."""
    code = answer.get("code")
    return str(code) if type(code) is int and code in _CODES else ""


def sid_of(answer: Mapping[str, Any]) -> str:
    """Return the SID of a message; empty where it has another shape."""
    sid = answer.get("sid")
    return sid if isinstance(sid, str) and _MESSAGE_SID.fullmatch(sid) else ""


def status_of(answer: Mapping[str, Any]) -> str:
    """Return the status of a message; empty where it is not one of Twilio's."""
    status = answer.get("status")
    return status if isinstance(status, str) and status in STATUSES else ""


def error_text(error: Exception) -> str:
    """Return an error in words. Those of the HTTP client hold no part of the request."""
    return one_line(f"{type(error).__name__} {error}".rstrip(), _WORDS)


def one_line(text: str, most: int = _TEXT) -> str:
    """Return the beginning of a foreign text, on one line."""
    text = well_formed(text[:most])
    return "".join(char if char.isprintable() else " " for char in text)
