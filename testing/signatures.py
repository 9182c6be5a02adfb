"""Signatures of requests that are given by their URLs."""

from collections.abc import Sequence

from offhook.core import signature as core
from offhook.core.keys import Kind
from offhook.core.requests import Request


def request_to(
    url: str, *, method: str, content_type: str | None, body: bytes, signature: str
) -> Request:
    """Return a request to a URL, whose query stays a part of it."""
    return Request(Kind.MESSAGE, method, url, "", b"", content_type, signature, body, 0.0)


def verify(
    *,
    url: str,
    method: str,
    content_type: str | None,
    body: bytes,
    signature: str,
    auth_tokens: Sequence[str],
) -> core.Verdict:
    """Verify a request to a URL."""
    request = request_to(
        url, method=method, content_type=content_type, body=body, signature=signature
    )
    return core.verify(request, auth_tokens)
