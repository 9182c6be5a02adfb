"""Why a signature did not fit, for the operator: nearly always, the URL has another name outside.

https://www.twilio.com/docs/usage/webhooks/webhooks-security: the URL is signed as Twilio called
it, and behind a proxy or a tunnel that is not how the request arrives.
"""

import hmac
import re
from collections.abc import Iterator, Sequence
from typing import Final

from offhook.core.requests import Request
from offhook.core.signature import sign

# Each costs one HMAC over the request for each auth token.
MAX_BASES: Final = 32
MAX_REWRITTEN: Final = 8
"""Bases for which other paths and queries are tried too, three for each."""

# A host that nobody outside would call: an address, or a name without a dot.
_INNER: Final = re.compile(
    r"https?://(?:[0-9.]+|\[[0-9a-fA-F:.]+\]|[^./:\[\]]+)(?::[0-9]+)?(?:/.*)?"
)


def checked(request: Request) -> str:
    """Return which URL was checked. A query is left out: that of a GET holds what was written."""
    return f"the signature was checked for {request.base + request.path!a}"


def explain_mismatch(request: Request, auth_tokens: Sequence[str], *, given: bool) -> str:
    """Return which URL was checked, and under which other base the signature would have fitted.

    Args:
        request: with a form that can be decoded; of its `other_bases` the first `MAX_BASES` are
            tried.
        auth_tokens: those it was checked with.
        given: whether its base is OFFHOOK_PUBLIC_URL, and not what the request says of itself.
    """
    base, path, signature = request.base, request.path, request.signature
    fields = () if request.bodiless else request.form().fields
    target = f"{path}?{request.query_text}" if request.query else path
    others = dict.fromkeys(request.other_bases())
    tried = [other for other in others if other != base][:MAX_BASES]
    for other in tried:
        if _signed(other + target, fields, signature, auth_tokens):
            return (
                f"{checked(request)}, but it is valid for {other + path!a}: "
                f"set OFFHOOK_PUBLIC_URL={ascii(other)[1:-1]}"
            )
    for other in (base, *tried)[:MAX_REWRITTEN]:
        for called, change in _rewritten(path, request.query_text):
            if _signed(other + called, fields, signature, auth_tokens):
                return (
                    f"{checked(request)}, but it is valid for "
                    f"{other + called.partition('?')[0]!a} {change}: a proxy has to pass the path "
                    "and the query on as they come, and Twilio must be given what is answered here"
                )
    if not given and _INNER.fullmatch(base):
        return (
            f"{checked(request)}, and no header of the request says under which name Twilio "
            "called: set OFFHOOK_PUBLIC_URL to it"
        )
    return (
        f"{checked(request)}, and fits none of {len(tried)} likely others: if Twilio was given "
        "this URL, TWILIO_AUTH_TOKEN is not the token of the account that called (each subaccount "
        "has its own)"
    )


def _rewritten(path: str, query: str) -> Iterator[tuple[str, str]]:
    """Yield paths and queries that may have become these on their way, and in which way."""
    following = f"?{query}" if query else ""
    if path.endswith("/"):
        yield path.rstrip("/") + following, "without the slash at its end"
    else:
        yield f"{path}/{following}", "with a slash at its end"
    if query:
        yield path, "without its query"


def _signed(
    url: str, fields: Sequence[tuple[str, str]], signature: str, auth_tokens: Sequence[str]
) -> bool:
    if not signature.isascii():
        return False
    # Compared in constant time here too: a client chooses its Host, and so what is signed.
    received = signature.encode()
    try:
        return any(
            hmac.compare_digest(sign(url=url, params=fields, auth_token=token).encode(), received)
            for token in auth_tokens
            if token
        )
    except UnicodeEncodeError:  # a query of bytes that are not UTF-8: nobody has signed that
        return False
