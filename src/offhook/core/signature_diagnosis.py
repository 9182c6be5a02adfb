"""Why a signature did not fit, for the operator: nearly always, the URL has another name outside.

https://www.twilio.com/docs/usage/webhooks/webhooks-security: the URL is signed as Twilio called
it, and behind a proxy or a tunnel that is not how the request arrives.
"""

import hmac
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from offhook.core.signature import sign

# Each costs one HMAC over the request for each auth token.
MAX_BASES: Final = 32
MAX_REWRITTEN: Final = 8
"""Bases for which other paths and queries are tried too, three for each."""

# A host that nobody outside would call: an address, or a name without a dot.
_INNER: Final = re.compile(
    r"https?://(?:[0-9.]+|\[[0-9a-fA-F:.]+\]|[^./:\[\]]+)(?::[0-9]+)?(?:/.*)?"
)


def checked(base: str, path: str) -> str:
    """Return which URL was checked. A query is left out: that of a GET holds what was written."""
    return f"the signature was checked for {base + path!a}"


def explain_mismatch(
    *,
    base: str,
    path: str,
    query: str,
    fields: Sequence[tuple[str, str]],
    signature: str,
    auth_tokens: Sequence[str],
    other_bases: Iterable[str],
    given: bool,
) -> str:
    """Return which URL was checked, and under which other base the signature would have fitted.

    Args:
        base: what was put in front of `path`, without a slash at its end.
        path: the raw path of the request.
        query: its raw query, without the question mark.
        fields: the decoded fields of a form POST, none for a GET.
        signature: the one received.
        auth_tokens: those it was checked with.
        other_bases: those Twilio may have meant; the first `MAX_BASES` are tried.
        given: whether `base` is OFFHOOK_PUBLIC_URL, and not what the request says of itself.
    """
    target = f"{path}?{query}" if query else path
    tried = [other for other in dict.fromkeys(other_bases) if other != base][:MAX_BASES]
    for other in tried:
        if _signed(other + target, fields, signature, auth_tokens):
            return (
                f"{checked(base, path)}, but it is valid for {other + path!a}: "
                f"set OFFHOOK_PUBLIC_URL={ascii(other)[1:-1]}"
            )
    for other in (base, *tried)[:MAX_REWRITTEN]:
        for called, change in _rewritten(path, query):
            if _signed(other + called, fields, signature, auth_tokens):
                return (
                    f"{checked(base, path)}, but it is valid for "
                    f"{other + called.partition('?')[0]!a} {change}: a proxy has to pass the path "
                    "and the query on as they come, and Twilio must be given what is answered here"
                )
    if not given and _INNER.fullmatch(base):
        return (
            f"{checked(base, path)}, and no header of the request says under which name Twilio "
            "called: set OFFHOOK_PUBLIC_URL to it"
        )
    return (
        f"{checked(base, path)}, and fits none of {len(tried)} likely others: if Twilio was given "
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
