"""Why a signature did not fit, for the operator: nearly always, the URL has another name outside.

https://www.twilio.com/docs/usage/webhooks/webhooks-security: the URL is signed as Twilio called
it, and behind a proxy or a tunnel that is not how the request arrives.
"""

import hmac
from collections.abc import Iterable, Sequence
from typing import Final

from offhook.core.signature import sign

# Each base costs one HMAC over the request for each auth token.
MAX_BASES: Final = 16


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
) -> str:
    """Return which URL was checked, and under which other base the signature would have fitted.

    Args:
        base: what was put in front of `path`, without a slash at its end.
        path: the raw path of the request.
        query: its raw query, without the question mark.
        fields: the decoded fields of a form POST, none for a GET.
        signature: the one received.
        auth_tokens: those it was checked with.
        other_bases: those Twilio may have meant; the first sixteen are tried.
    """
    target = f"{path}?{query}" if query else path
    tried = [other for other in dict.fromkeys(other_bases) if other != base][:MAX_BASES]
    for other in tried:
        if _signed(other + target, fields, signature, auth_tokens):
            return (
                f"{checked(base, path)}, but it is valid for {other + path!a}: "
                f"set OFFHOOK_PUBLIC_URL={ascii(other)[1:-1]}"
            )
    return (
        f"{checked(base, path)}, and fits none of {len(tried)} likely others: is this the URL "
        "Twilio was given, and TWILIO_AUTH_TOKEN the token of the account that called?"
    )


def _signed(
    url: str, fields: Sequence[tuple[str, str]], signature: str, auth_tokens: Sequence[str]
) -> bool:
    # Compared in constant time here too: a client chooses its Host, and so what is signed.
    received = signature.encode("utf-8", "replace")
    return any(
        hmac.compare_digest(sign(url=url, params=fields, auth_token=token).encode(), received)
        for token in auth_tokens
        if token
    )
