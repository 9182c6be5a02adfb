"""Whether a request was signed with one of our auth tokens, and what it then said.

Source: https://www.twilio.com/docs/usage/security and
https://www.twilio.com/docs/usage/webhooks/webhooks-security. Where the official SDKs disagree:
docs/decisions/0002-signature-where-sdks-differ.md.
"""

import binascii
import hashlib
import hmac
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

from offhook.core.forms import MAX_FIELDS, Form, FormError, Refusal, decode_form
from offhook.core.requests import MediaType, Request
from offhook.core.urls import (
    BODY_SHA256,
    as_requested,
    other_spellings,
    query_value,
    with_query_value,
)

__all__ = [
    "MAX_FIELDS",
    "Form",
    "FormError",
    "Refusal",
    "Verdict",
    "body_sha256",
    "decode_form",
    "sign",
    "verify",
    "with_body_sha256",
]


class Verdict(NamedTuple):
    """The outcome of `verify`: true when the request is proven to be Twilio's.

    `reason` says why not. A refused request has no `form`: what it said is not to be used.
    A valid one has its `form` (None for JSON), the form's `signed_text`, the spelling of the URL
    that was signed and the index of the auth token that signed it.
    """

    reason: Refusal | None
    form: Form | None = None
    matched_url: str | None = None
    token_index: int | None = None
    text: str = ""

    def __repr__(self) -> str:
        # Neither the form nor the URL: a GET's holds the message.
        return f"Verdict(reason={self.reason!r}, token_index={self.token_index})"

    def __bool__(self) -> bool:
        return self.reason is None


def verify(request: Request, auth_tokens: Sequence[str]) -> Verdict:
    """Say whether a request bears a valid signature, and decode its form.

    Any of `auth_tokens` may have signed; empty ones never match.

    GET and HEAD are signed over the URL alone and their body is ignored. Any other method is
    taken for a POST: of a form, or of JSON whose hash stands in the URL.

    Never raises for anything a client can send. Signatures and hashes are compared in constant
    time.
    """
    media_type = None if request.bodiless else request.media_type
    refusal = None
    if media_type is MediaType.OTHER:
        refusal = Refusal.UNSUPPORTED_CONTENT_TYPE
    elif not request.signature:
        refusal = Refusal.MISSING_SIGNATURE
    elif not any(auth_tokens):
        refusal = Refusal.NO_AUTH_TOKEN
    elif media_type is MediaType.FORM_NOT_UTF8 or media_type is MediaType.JSON_NOT_UTF8:
        refusal = Refusal.NOT_UTF8
    if refusal is not None:
        return Verdict(refusal)
    match media_type:
        case MediaType.FORM:
            return _check_form(request, auth_tokens)
        case MediaType.JSON:
            return _check_json(request, auth_tokens)
        case _:
            return _check_query(request, auth_tokens)


def read(request: Request) -> Verdict:
    """Decode a request's form without verifying it, where signatures are not required."""
    if not (request.bodiless or request.is_form):
        return Verdict(Refusal.UNSUPPORTED_CONTENT_TYPE)
    try:
        form = request.form()
    except FormError as error:
        return Verdict(error.refusal)
    return Verdict(None, form, text=form.signed_text())


def sign(*, url: str, params: Iterable[tuple[str, str]] = (), auth_token: str) -> str:
    """Return the `X-Twilio-Signature` Twilio sends with a request to `url`.

    `params` are the decoded fields of a form POST, none for GET and JSON. User info and the
    fragment of `url` are left out, as Twilio does; its port is signed as given.

    Raises `ValueError` for an empty `auth_token`, with which anybody could sign.
    """
    if not auth_token:
        raise ValueError("an empty auth token cannot sign")
    message = as_requested(url) + Form.of(params).signed_text()
    return _digest(message.encode(), auth_token).decode()


def body_sha256(body: bytes) -> str:
    """Return what Twilio puts in `bodySHA256` for `body`: 64 lower-case hexadecimal digits."""
    return hashlib.sha256(body).hexdigest()


def with_body_sha256(url: str, body: bytes) -> str:
    """Return the URL Twilio requests, and signs, to post the JSON `body` to `url`."""
    return with_query_value(url, BODY_SHA256, body_sha256(body))


def _check_form(request: Request, auth_tokens: Sequence[str]) -> Verdict:
    try:
        form = decode_form(request.body)
    except FormError as error:
        return Verdict(error.refusal)
    return _check(request, form, auth_tokens)


def _check_query(request: Request, auth_tokens: Sequence[str]) -> Verdict:
    verdict = _check(request, None, auth_tokens)
    if verdict.reason is not None:
        return verdict
    read_ = read(request)  # the signature covers the URL, and so the query
    return verdict._replace(reason=read_.reason, form=read_.form, text=read_.text)


def _check_json(request: Request, auth_tokens: Sequence[str]) -> Verdict:
    claimed = query_value(request.url, BODY_SHA256)
    if claimed is None:
        return Verdict(Refusal.MISSING_BODY_HASH)
    verdict = _check(request, None, auth_tokens)
    # Only after the signature: no other body is worth hashing.
    if verdict and not hmac.compare_digest(claimed.encode(), body_sha256(request.body).encode()):
        return Verdict(Refusal.BODY_HASH_MISMATCH)
    return verdict


def _check(request: Request, form: Form | None, auth_tokens: Sequence[str]) -> Verdict:
    if not request.signature.isascii():
        return Verdict(Refusal.SIGNATURE_MISMATCH)
    url, expected = request.url, request.signature.encode()
    text = form.signed_text() if form else ""
    try:
        message = (url + text).encode()
    except UnicodeEncodeError:
        return Verdict(Refusal.MALFORMED_URL)
    token_index = _signer(message, expected, auth_tokens)
    if token_index is not None:
        return Verdict(None, form, url, token_index, text)
    spellings = other_spellings(url)
    if spellings is None:
        return Verdict(Refusal.MALFORMED_URL)
    for spelling in spellings:
        token_index = _signer((spelling + text).encode(), expected, auth_tokens)
        if token_index is not None:
            return Verdict(None, form, spelling, token_index, text)
    return Verdict(Refusal.SIGNATURE_MISMATCH)


def _signer(message: bytes, expected: bytes, auth_tokens: Sequence[str]) -> int | None:
    for index, token in enumerate(auth_tokens):
        if token and hmac.compare_digest(_digest(message, token), expected):
            return index
    return None


def _digest(message: bytes, auth_token: str) -> bytes:
    keyed = _keyed(auth_token).copy()
    keyed.update(message)
    return binascii.b2a_base64(keyed.digest(), newline=False)


# Keying takes a third of a signature's time, and an app has few tokens.
@lru_cache(maxsize=1024)
def _keyed(auth_token: str) -> hmac.HMAC:
    return hmac.new(auth_token.encode(), digestmod="sha1")
