"""What must hold for any request, with the official SDK as the oracle where the two agree."""

from random import Random
from typing import Any
from urllib.parse import parse_qsl, urlencode

from hypothesis import given, settings
from hypothesis import strategies as st
from twilio.request_validator import (  # type: ignore[import-untyped]  # ships no types
    RequestValidator,
)

from offhook.core.signature import Refusal, Verdict, sign, with_body_sha256
from testing.signatures import verify

COMMON = settings(deadline=None, max_examples=200, derandomize=True)
FORM = "application/x-www-form-urlencoded"
URL = "https://example.com/twilio/messages"
LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
NAMES = st.sampled_from(["Body", "From", "To", "B", "", "MediaUrl1", "MediaUrl10"]) | TEXT
FIELDS = st.lists(st.tuples(NAMES, TEXT), max_size=12)
TOKENS = st.text(LETTERS, min_size=1, max_size=40)
PATHS = st.text(LETTERS + "/-._~%+", max_size=15).map("/".__add__)
QUERIES = st.just("") | st.text(LETTERS + "=&%+", min_size=1, max_size=15).map("?".__add__)
SCHEMES = st.sampled_from(["http", "https"])
PORTS = st.sampled_from(["", ":80", ":443", ":8443"])
HOSTS = st.sampled_from(["example.com", "bot.example.com", "192.0.2.1"])
ORIGINS = st.builds("{}://{}{}".format, SCHEMES, HOSTS, PORTS)
URLS = st.builds("{}{}{}".format, ORIGINS, PATHS, QUERIES)


class Parameters(dict[str, list[str]]):
    """Several values a name, in the shape Django hands to the SDK."""

    def __init__(self, fields: list[tuple[str, str]]) -> None:
        super().__init__()
        for name, value in fields:
            self.setdefault(name, []).append(value)

    def getlist(self, name: str) -> list[str]:
        return self[name]


def post(
    url: str, fields: list[tuple[str, str]], signature: str, token: str, body: bytes | None = None
) -> Verdict:
    return verify(
        url=url,
        method="POST",
        content_type=FORM,
        body=urlencode(fields).encode() if body is None else body,
        signature=signature,
        auth_tokens=[token],
    )


def signed_text(body: bytes) -> str | None:
    """Read a body with the standard library; None when that cannot."""
    try:
        pairs = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    except UnicodeDecodeError:
        return None
    return "".join(name + value for name, value in sorted(set(pairs)))


@COMMON
@given(URLS, FIELDS, TOKENS)
def test_we_sign_as_the_sdk_does(url: str, fields: list[tuple[str, str]], token: str) -> None:
    theirs = RequestValidator(token).compute_signature(url, Parameters(fields))
    assert sign(url=url, params=fields, auth_token=token) == theirs


@COMMON
@given(URLS, FIELDS, TOKENS, ORIGINS)
def test_we_judge_a_form_as_the_sdk_does(
    url: str, fields: list[tuple[str, str]], token: str, origin: str
) -> None:
    # The URL that was signed differs in nothing, the port, the host or the scheme.
    path = url.partition("://")[2].partition("/")[2]
    signature = sign(url=f"{origin}/{path}", params=fields, auth_token=token)
    theirs = RequestValidator(token).validate(url, Parameters(fields), signature)
    assert bool(post(url, fields, signature, token)) is theirs


@COMMON
@given(URLS, TEXT, TEXT, TOKENS)
def test_we_judge_json_as_the_sdk_does(url: str, body: str, received: str, token: str) -> None:
    url = with_body_sha256(url, body.encode())
    signature = sign(url=url, auth_token=token)
    for text in (body, received):
        verdict = verify(
            url=url,
            method="POST",
            content_type="application/json",
            body=text.encode(),
            signature=signature,
            auth_tokens=[token],
        )
        assert bool(verdict) is RequestValidator(token).validate(url, text, signature)
        assert bool(verdict) is (text == body)


@COMMON
@given(URLS, FIELDS, TOKENS)
def test_what_we_sign_we_accept(url: str, fields: list[tuple[str, str]], token: str) -> None:
    verdict = post(url, fields, sign(url=url, params=fields, auth_token=token), token)
    assert verdict.matched_url == url
    assert verdict.form is not None
    assert verdict.form.fields == tuple(fields)


@COMMON
@given(FIELDS, st.randoms(use_true_random=False))
def test_the_order_of_fields_does_not_matter(fields: list[tuple[str, str]], random: Random) -> None:
    signature = sign(url=URL, params=fields, auth_token="token")
    shuffled = random.sample(fields, len(fields))
    assert post(URL, shuffled, signature, "token")


@COMMON
@given(FIELDS, st.data())
def test_a_changed_bit_of_the_signature_is_refused(
    fields: list[tuple[str, str]], data: st.DataObject
) -> None:
    signature = sign(url=URL, params=fields, auth_token="token")
    changed = flip(signature.encode(), data).decode("latin-1")
    assert post(URL, fields, changed, "token").reason is Refusal.SIGNATURE_MISMATCH


@COMMON
@given(URLS, FIELDS, st.data())
def test_a_changed_letter_of_the_url_is_refused(
    url: str, fields: list[tuple[str, str]], data: st.DataObject
) -> None:
    changed = replace_letter(url, data)
    assert not post(changed, fields, sign(url=url, params=fields, auth_token="token"), "token")


@COMMON
@given(FIELDS, TOKENS, st.data())
def test_a_changed_letter_of_the_token_is_refused(
    fields: list[tuple[str, str]], token: str, data: st.DataObject
) -> None:
    signature = sign(url=URL, params=fields, auth_token=token)
    verdict = post(URL, fields, signature, replace_letter(token, data))
    assert verdict.reason is Refusal.SIGNATURE_MISMATCH


@COMMON
@given(FIELDS.filter(lambda fields: fields != []), st.data())
def test_a_changed_bit_of_the_body_is_refused_unless_it_says_the_same(
    fields: list[tuple[str, str]], data: st.DataObject
) -> None:
    # "%2B" and "%2b" say the same; so does what parts the same letters differently, since
    # Twilio signs names and values without anything between them.
    body = urlencode(fields).encode()
    changed = flip(body, data)
    signature = sign(url=URL, params=fields, auth_token="token")
    verdict = post(URL, fields, signature, "token", changed)
    assert bool(verdict) is (signed_text(changed) == signed_text(body))


REQUESTS = st.fixed_dictionaries(
    {
        "url": st.text() | st.text().map("https://".__add__) | URLS,
        "method": st.sampled_from(["GET", "POST"]) | st.text(),
        "content_type": st.sampled_from([None, FORM, "application/json"]) | st.text(),
        "body": st.binary() | FIELDS.map(lambda fields: urlencode(fields).encode()),
        "signature": st.text(),
    }
)


@COMMON
@given(REQUESTS, st.lists(TOKENS | st.just(""), max_size=3))
def test_nothing_a_client_sends_raises_or_is_accepted_unsigned(
    request: dict[str, Any], tokens: list[str]
) -> None:
    verdict = verify(**request, auth_tokens=tokens)
    assert verdict.reason is not None
    assert verdict.form is None


def flip(content: bytes, data: st.DataObject) -> bytes:
    bit = data.draw(st.integers(0, 8 * len(content) - 1))
    changed = bytearray(content)
    changed[bit // 8] ^= 1 << bit % 8
    return bytes(changed)


def replace_letter(text: str, data: st.DataObject) -> str:
    index = data.draw(st.integers(0, len(text) - 1))
    letter = data.draw(st.sampled_from([c for c in LETTERS if c != text[index]]))
    return text[:index] + letter + text[index + 1 :]
