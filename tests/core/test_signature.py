import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

import pytest

from offhook.core.forms import Form
from offhook.core.signature import (
    MAX_FIELDS,
    Refusal,
    Verdict,
    body_sha256,
    sign,
    with_body_sha256,
)
from testing.signatures import verify

TOKEN = "12345"
URL = "https://example.com/twilio/messages"
FORM = "application/x-www-form-urlencoded"
FIELDS = [("MessageSid", "SM1"), ("Body", "Hi there, it's 5 + 5"), ("From", "+15551234"), ("X", "")]

Fields = Iterable[tuple[str, str]]


def load(name: str) -> list[dict[str, Any]]:
    vectors: list[dict[str, Any]] = json.loads(
        (Path(__file__).parent / "vectors" / name).read_text(encoding="utf-8")
    )
    return vectors


def post(
    signature: str,
    *,
    url: str = URL,
    fields: Fields = FIELDS,
    body: bytes | None = None,
    content_type: str | None = FORM,
    tokens: Sequence[str] = (TOKEN,),
) -> Verdict:
    return verify(
        url=url,
        method="POST",
        content_type=content_type,
        body=urlencode(list(fields)).encode() if body is None else body,
        signature=signature,
        auth_tokens=tokens,
    )


def get(signature: str, url: str, *, method: str = "GET", body: bytes = b"") -> Verdict:
    return verify(
        url=url,
        method=method,
        content_type=None,
        body=body,
        signature=signature,
        auth_tokens=[TOKEN],
    )


def judge(vector: dict[str, Any]) -> Verdict:
    is_json = vector["json"] is not None
    return post(
        vector["signature"],
        url=vector["url"],
        fields=[(name, value) for name, value in vector["fields"] or ()],
        body=vector["json"].encode() if is_json else None,
        content_type="application/json" if is_json else FORM,
        tokens=[vector["token"]],
    )


VECTORS = load("signature.json")
BODY_HASHES = load("body_hash.json")


def test_the_vectors_are_there() -> None:
    agreed = [vector["valid"] for vector in VECTORS if vector["sdks_agree"]]
    assert (agreed.count(True), agreed.count(False), len(VECTORS)) == (19, 2, 25)


@pytest.mark.parametrize(
    "vector",
    [pytest.param(v, id=v["source"]) for v in VECTORS if v["sdks_agree"]],
)
def test_a_vector_all_sdks_agree_on(vector: dict[str, Any]) -> None:
    assert bool(judge(vector)) is vector["valid"]


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["source"]) for v in BODY_HASHES])
def test_a_vector_of_a_body_hash(vector: dict[str, Any]) -> None:
    body = vector["body"].encode()
    url = f"{URL}?bodySHA256={vector['sha256']}"
    verdict = post(
        sign(url=url, auth_token=TOKEN), url=url, body=body, content_type="application/json"
    )
    assert verdict.reason == (None if vector["valid"] else Refusal.BODY_HASH_MISMATCH)
    assert (body_sha256(body) == vector["sha256"]) is vector["valid"]


class TestWhereTheSdksDiffer:
    """docs/decisions/0002-signature-where-sdks-differ.md, one test a class of difference."""

    def vector(self, part_of_source: str) -> dict[str, Any]:
        (vector,) = [v for v in VECTORS if part_of_source in v["source"] and not v["sdks_agree"]]
        return vector

    def test_several_values_of_a_name_are_signed_sorted_whatever_their_order(self) -> None:
        vector = self.vector("regardless of the position of values")
        assert judge(vector)
        assert judge({**vector, "fields": vector["fields"][::-1]})

    def test_a_repeated_value_is_signed_once(self) -> None:
        vector = self.vector("regardless of the position of values")
        assert judge({**vector, "fields": vector["fields"] * 2})

    @pytest.mark.parametrize("source", ["but no bodySHA256", "fails with json body"])
    def test_json_without_a_hash_is_refused_and_raises_nothing(self, source: str) -> None:
        assert judge(self.vector(source)).reason is Refusal.MISSING_BODY_HASH

    def test_an_empty_signature_is_refused_and_raises_nothing(self) -> None:
        assert post("").reason is Refusal.MISSING_SIGNATURE

    def test_a_quote_in_the_query_may_have_been_signed_escaped(self) -> None:
        verdict = judge(self.vector("urls with special characters"))
        assert verdict.matched_url is not None
        assert verdict.matched_url.endswith("Body=It%27s+amazing")

    def test_a_space_in_the_query_is_signed_as_it_was_sent(self) -> None:
        signature = sign(url=f"{URL}?a=x%20y", params=FIELDS, auth_token=TOKEN)
        assert post(signature, url=f"{URL}?a=x%20y")
        assert post(signature, url=f"{URL}?a=x+y").reason is Refusal.SIGNATURE_MISMATCH

    def test_an_explicit_443_may_have_been_signed_without(self) -> None:
        signature = sign(url="https://example.com/a", params=FIELDS, auth_token=TOKEN)
        assert post(signature, url="https://example.com:443/a")

    def test_an_escaped_plus_survives_the_change_of_a_port(self) -> None:
        signature = sign(url="https://example.com:443/a?b=1%2B1", params=FIELDS, auth_token=TOKEN)
        assert post(signature, url="https://example.com/a?b=1%2B1")

    @pytest.mark.parametrize("body", [b"A&B=1", b"A=&B=1"])
    def test_a_field_without_a_value_is_signed_by_its_name(self, body: bytes) -> None:
        signature = sign(url=URL, params=[("A", ""), ("B", "1")], auth_token=TOKEN)
        assert post(signature, body=body)

    def test_a_url_that_is_not_ascii_is_signed_as_utf8(self) -> None:
        url = "https://example.com/caf\u00e9?a=\U0001f44d"
        assert post(sign(url=url, params=FIELDS, auth_token=TOKEN), url=url)

    @pytest.mark.parametrize("signed", ["HTTPS://example.com/a", "https://example.com/a"])
    def test_a_scheme_in_upper_case_is_accepted(self, signed: str) -> None:
        signature = sign(url=signed, params=FIELDS, auth_token=TOKEN)
        assert post(signature, url="HTTPS://example.com/a")

    @pytest.mark.parametrize("signed", ["https://Example.COM/Aa", "https://example.com/Aa"])
    def test_a_host_may_have_been_signed_in_lower_case(self, signed: str) -> None:
        signature = sign(url=signed, params=FIELDS, auth_token=TOKEN)
        assert post(signature, url="https://Example.COM/Aa")

    def test_the_path_keeps_its_case(self) -> None:
        signature = sign(url="https://example.com/aa", params=FIELDS, auth_token=TOKEN)
        assert not post(signature, url="https://example.com/Aa")

    def test_numbers_are_sorted_as_text(self) -> None:
        # A numeric sort puts 9 before 10; the text to sign is spelled out here.
        signature = sign(url=f"{URL}10x9y", auth_token=TOKEN)
        assert post(signature, fields=[("9", "y"), ("10", "x")])
        assert post(sign(url=f"{URL}k10k9", auth_token=TOKEN), fields=[("k", "9"), ("k", "10")])

    def test_port_80_is_not_tried_for_wss(self) -> None:
        assert not get(sign(url="wss://example.com:80/a", auth_token=TOKEN), "wss://example.com/a")

    def test_an_ipv6_host_has_a_port_to_leave_out(self) -> None:
        signature = sign(url="https://[2001:db8::1]/a", params=FIELDS, auth_token=TOKEN)
        assert post(signature, url="https://[2001:db8::1]:8443/a")


@pytest.mark.parametrize(
    ("requested", "signed"),
    [
        ("https://example.com/a", "https://example.com/a"),
        ("https://example.com/a", "https://example.com:443/a"),
        ("http://example.com/a", "http://example.com:80/a"),
        ("ws://example.com/a", "ws://example.com:80/a"),
        ("wss://example.com/a", "wss://example.com:443/a"),
        ("https://example.com:443/a", "https://example.com/a"),
        ("http://example.com:80/a", "http://example.com/a"),
        ("https://example.com:8443/a", "https://example.com/a"),
        ("https://example.com:/a", "https://example.com/a"),
        ("https://user:pa:ss@example.com/a", "https://example.com/a"),
        ("https://user:pa:ss@example.com:8443/a", "https://example.com/a"),
        ("https://u@v@example.com/a", "https://example.com:443/a"),
        ("https://[::1]/a", "https://[::1]:443/a"),
        ("https://u:p@[::1]:8443/a", "https://[::1]:8443/a"),
        ("https://example.com/a#rc=5", "https://example.com/a"),
        ("https://example.com/a?b=1#rc=5&rp=all", "https://example.com:443/a?b=1"),
        ("https://example.com/a", "https://example.com/a?"),
        ("https://example.com/a?", "https://example.com/a"),
        ("https://example.com/", "https://example.com"),
        ("https://example.com", "https://example.com/"),
        ("https://example.com?a=1", "https://example.com/?a=1"),
        ("wss://example.com/a", "wss://example.com/a/"),
        ("wss://example.com/a", "wss://example.com:443/a/"),
        ("HTTPS://user@EXAMPLE.com/A?B='#c", "https://example.com:443/A?B=%27"),
    ],
)
def test_a_spelling_of_the_url_that_fits(requested: str, signed: str) -> None:
    # The text is signed as it stands: as parameters, since `sign` would tidy up the URL.
    signature = sign(url="", params=[(signed, "")], auth_token=TOKEN)
    verdict = get(signature, requested)
    assert (verdict.reason, verdict.matched_url, verdict.form) == (None, signed, Form({}))


@pytest.mark.parametrize(
    ("requested", "signed"),
    [
        ("https://example.com/a", "http://example.com/a"),
        ("https://example.com/a", "https://example.com:80/a"),
        ("https://example.com/a", "https://example.com:8443/a"),
        ("https://example.com:8443/a", "https://example.com:443/a"),
        ("https://example.com/a", "https://example.com/a/"),
        ("https://example.com/a/", "https://example.com/a"),
        ("wss://example.com/a/", "wss://example.com/a"),
        ("wss://example.com/a/", "wss://example.com/a//"),
        ("https://example.com/a?b=1", "https://example.com/a"),
        ("https://example.com/a", "https://example.com/a?b=1"),
        ("https://example.com/a?b=1&c=2", "https://example.com/a?c=2&b=1"),
        ("https://example.com/a", "https://example.org/a"),
        ("https://example.com/a", "https://example.com/A"),
        ("https://example.com/a%2Fb", "https://example.com/a/b"),
        ("https://example.com/a'b", "https://example.com/a%27b"),
        ("https://example.com@example.org/a", "https://example.com/a"),
        ("https://example.org/a?@example.com/a", "https://example.com/a"),
        ("https://example.org/a#@example.com/a", "https://example.com/a"),
    ],
)
def test_another_url_does_not_fit(requested: str, signed: str) -> None:
    signature = sign(url=signed, auth_token=TOKEN)
    assert get(signature, requested).reason is Refusal.SIGNATURE_MISMATCH


@pytest.mark.parametrize(
    "url",
    [
        "",
        "/twilio/messages",
        "example.com/a",
        "//example.com/a",
        "ftp://example.com/a",
        "http\u017f://example.com/a",
        "https://",
        "https:///a",
        "https://user@/a",
        "https://[::1/a",
        "https://::1]/a",
        "https://[]/a",
        "https://[::1]x/a",
        "https://a:b:c/a",
        "https://example.com:x/a",
        "https://example.com:65536/a",
        "https://example.com:" + "9" * 5_000 + "/a",
        "https://example.com:\u0661/a",
        "https://example.com/\ud800",
        "\ud800",
        "\0",
        "h" * 1_000_000,
        "https://" + "@" * 100_000,
    ],
    ids=lambda url: ascii(url[:40]),
)
def test_what_is_not_a_url_is_refused_as_such(url: str) -> None:
    assert post("x" * 28, url=url).reason is Refusal.MALFORMED_URL


def test_a_url_with_a_nul_is_only_a_mismatch() -> None:
    assert post("x" * 28, url=f"{URL}?\0").reason is Refusal.SIGNATURE_MISMATCH


@pytest.mark.parametrize("body", [b"Body=changed", b"{}", b"\xff"])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_get_is_judged_by_its_url_alone(method: str, body: bytes) -> None:
    url = f"{URL}?Body=Hi"
    verdict = get(sign(url=url, auth_token=TOKEN), url, method=method, body=body)
    assert verdict
    assert verdict.form == Form({})  # nothing of the body


@pytest.mark.parametrize("method", ["POST", "PUT", "get", ""])
def test_another_method_is_taken_for_a_post(method: str) -> None:
    assert not get(sign(url=URL, auth_token=TOKEN), URL, method=method, body=b"A=1")
    assert get(sign(url=URL, auth_token=TOKEN), URL, method=method).form is not None


def test_a_valid_form_post_yields_its_form() -> None:
    verdict = post(sign(url=URL, params=FIELDS, auth_token=TOKEN))
    assert verdict
    assert (verdict.matched_url, verdict.token_index) == (URL, 0)
    assert verdict.form is not None
    assert verdict.form.fields == tuple(FIELDS)


def test_a_refused_form_post_yields_nothing() -> None:
    verdict = post("x" * 28)
    assert not verdict
    assert (verdict.reason, verdict.form, verdict.matched_url, verdict.token_index) == (
        Refusal.SIGNATURE_MISMATCH,
        None,
        None,
        None,
    )


def test_whitespace_and_blank_values_are_signed() -> None:
    fields = [("A", "  x \r\n"), ("B", "")]
    signature = sign(url=URL, params=fields, auth_token=TOKEN)
    assert post(signature, fields=fields)
    assert not post(signature, fields=[("A", "x"), ("B", "")])
    assert not post(signature, fields=[("A", "  x \r\n")])


@pytest.mark.parametrize(
    ("fields", "text"),
    [
        ([("b", "1"), ("B", "2"), ("a", "3")], "B2a3b1"),
        # By name, not by name and value together: that would put "Reason..." first.
        ([("ReasonConferenceEnded", "t"), ("Reason", "P")], "ReasonPReasonConferenceEndedt"),
        ([("A", "z"), ("AB", "a")], "AzABa"),
        # By UTF-8 bytes; by UTF-16 units the emoji, a surrogate pair, would be first.
        ([("\U0001f44d", "1"), ("\uff21", "2")], "\uff212\U0001f44d1"),
        ([("k", "b"), ("a", ""), ("k", "a"), ("k", "b")], "akakb"),
    ],
)
def test_names_are_sorted_by_their_bytes(fields: list[tuple[str, str]], text: str) -> None:
    assert post(sign(url=URL + text, auth_token=TOKEN), fields=fields)


@pytest.mark.parametrize(
    "content_type",
    [
        FORM,
        "Application/X-WWW-Form-Urlencoded",
        f" {FORM} ;charset=utf-8",
        f"{FORM}; charset=UTF-8",
        f'{FORM}; Charset="utf-8"; x=y',
        f"{FORM}; charset=us-ascii",
        f"{FORM};",
    ],
)
def test_a_content_type_of_a_form(content_type: str) -> None:
    assert post(sign(url=URL, params=FIELDS, auth_token=TOKEN), content_type=content_type)


@pytest.mark.parametrize(
    ("content_type", "refusal"),
    [
        (None, Refusal.UNSUPPORTED_CONTENT_TYPE),
        ("", Refusal.UNSUPPORTED_CONTENT_TYPE),
        (";", Refusal.UNSUPPORTED_CONTENT_TYPE),
        ("multipart/form-data; boundary=x", Refusal.UNSUPPORTED_CONTENT_TYPE),
        ("text/plain", Refusal.UNSUPPORTED_CONTENT_TYPE),
        (f"{FORM}-x", Refusal.UNSUPPORTED_CONTENT_TYPE),
        (f"{FORM}; charset=iso-8859-1", Refusal.NOT_UTF8),
        (f'{FORM}; charset="UTF-16"', Refusal.NOT_UTF8),
        (f"{FORM}; charset=utf-8; charset=latin-1", Refusal.NOT_UTF8),
        (f"{FORM}; charset=", Refusal.NOT_UTF8),
        ("application/json; charset=utf-16", Refusal.NOT_UTF8),
    ],
)
def test_a_content_type_that_is_refused(content_type: str | None, refusal: Refusal) -> None:
    signature = sign(url=URL, params=FIELDS, auth_token=TOKEN)
    assert post(signature, content_type=content_type).reason is refusal


@pytest.mark.parametrize("content_type", [None, "", FORM])
def test_an_empty_post_is_an_empty_form(content_type: str | None) -> None:
    verdict = post(sign(url=URL, auth_token=TOKEN), body=b"", content_type=content_type)
    assert verdict.form is not None
    assert verdict.form.fields == ()


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"Body=%zz", Refusal.MALFORMED_FORM),
        (b"Body=%ff", Refusal.NOT_UTF8),
        (b"&".join([b"A=1"] * (MAX_FIELDS + 1)), Refusal.TOO_MANY_FIELDS),
    ],
)
def test_a_body_that_is_no_form_is_refused_even_if_signed(body: bytes, refusal: Refusal) -> None:
    signature = sign(url=URL, params=[("A", "1")], auth_token=TOKEN)
    assert post(signature, body=body).reason is refusal


class TestJson:
    BODY = b'[{"id": "caf\xc3\xa9"}]'

    def judge(
        self, url: str, body: bytes = BODY, content_type: str = "application/json"
    ) -> Verdict:
        signature = sign(url=url, auth_token=TOKEN)
        return post(signature, url=url, body=body, content_type=content_type)

    @pytest.mark.parametrize(
        ("url", "expected"),
        [
            ("https://e.com/a", "https://e.com/a?bodySHA256=HASH"),
            ("https://e.com/a?", "https://e.com/a?bodySHA256=HASH"),
            ("https://e.com/a?b=1", "https://e.com/a?b=1&bodySHA256=HASH"),
            ("https://e.com/a?b=1#c?", "https://e.com/a?b=1&bodySHA256=HASH"),
        ],
    )
    def test_the_hash_is_appended_to_the_query(self, url: str, expected: str) -> None:
        signed = with_body_sha256(url, self.BODY)
        assert signed == expected.replace("HASH", body_sha256(self.BODY))
        assert self.judge(signed)

    @pytest.mark.parametrize(
        "content_type",
        ["application/json; charset=utf-8", "APPLICATION/JSON", "application/cloudevents+json"],
    )
    def test_a_content_type_of_json(self, content_type: str) -> None:
        verdict = self.judge(with_body_sha256(URL, self.BODY), content_type=content_type)
        assert verdict
        assert verdict.form is None

    def test_another_body_is_refused(self) -> None:
        verdict = self.judge(with_body_sha256(URL, self.BODY), body=self.BODY + b" ")
        assert verdict.reason is Refusal.BODY_HASH_MISMATCH

    def test_a_hash_nobody_signed_is_refused(self) -> None:
        verdict = post(
            sign(url=with_body_sha256(URL, b"{}"), auth_token=TOKEN),
            url=with_body_sha256(URL, self.BODY),
            body=self.BODY,
            content_type="application/json",
        )
        assert verdict.reason is Refusal.SIGNATURE_MISMATCH

    @pytest.mark.parametrize(
        "query",
        ["", "?", "?bodysha256=HASH", "?xbodySHA256=HASH", "?bodySHA256", "?a=bodySHA256=HASH"],
    )
    def test_a_missing_hash_is_refused(self, query: str) -> None:
        url = URL + query.replace("HASH", body_sha256(self.BODY))
        assert self.judge(url).reason is Refusal.MISSING_BODY_HASH

    def test_the_hash_is_not_looked_for_in_the_fragment(self) -> None:
        url = f"{URL}#?bodySHA256={body_sha256(self.BODY)}"
        assert self.judge(url).reason is Refusal.MISSING_BODY_HASH

    def test_the_hash_is_lower_case_hexadecimal(self) -> None:
        url = f"{URL}?bodySHA256={body_sha256(self.BODY).upper()}"
        assert self.judge(url).reason is Refusal.BODY_HASH_MISMATCH

    @pytest.mark.parametrize("value", ["", "caf\u00e9", "0", "%00"])
    def test_a_hash_that_is_none_is_a_mismatch(self, value: str) -> None:
        assert self.judge(f"{URL}?bodySHA256={value}").reason is Refusal.BODY_HASH_MISMATCH

    def test_the_last_hash_counts_since_twilio_appends(self) -> None:
        url = f"{URL}?bodySHA256=mine"
        assert self.judge(with_body_sha256(url, self.BODY))

    def test_a_form_post_to_a_url_with_a_hash_is_judged_as_a_form(self) -> None:
        url = f"{URL}?bodySHA256=anything"
        verdict = post(sign(url=url, params=FIELDS, auth_token=TOKEN), url=url)
        assert verdict.form is not None


class TestTokens:
    SIGNATURE = sign(url=URL, params=FIELDS, auth_token=TOKEN)

    @pytest.mark.parametrize(
        ("tokens", "index"), [([TOKEN], 0), (["old", TOKEN], 1), (["", "old", TOKEN], 2)]
    )
    def test_any_token_may_have_signed(self, tokens: list[str], index: int) -> None:
        assert post(self.SIGNATURE, tokens=tokens).token_index == index

    def test_a_later_token_may_have_signed_another_spelling(self) -> None:
        url = URL.replace(".com", ".com:443")
        verdict = post(self.SIGNATURE, url=url, tokens=["old", TOKEN])
        assert (verdict.token_index, verdict.matched_url) == (1, URL)

    @pytest.mark.parametrize("tokens", [[], [""], ["", ""], ()])
    def test_without_a_token_nothing_is_valid(self, tokens: Sequence[str]) -> None:
        assert post(self.SIGNATURE, tokens=tokens).reason is Refusal.NO_AUTH_TOKEN

    def test_an_empty_token_never_matches(self) -> None:
        # Made by openssl dgst -sha1 -hmac "" -binary, base64, of the URL.
        verdict = post("qzsGh80wQkXU/V6LtMqzXTRQVbc=", body=b"", tokens=["", TOKEN])
        assert verdict.reason is Refusal.SIGNATURE_MISMATCH

    def test_an_empty_token_cannot_sign(self) -> None:
        with pytest.raises(ValueError, match="empty auth token"):
            sign(url=URL, auth_token="")

    def test_a_token_may_be_any_text(self) -> None:
        signature = sign(url=URL, params=FIELDS, auth_token="t\u00f6ken")
        assert post(signature, tokens=["t\u00f6ken"])
        assert not post(signature, tokens=["token"])


@pytest.mark.parametrize("signature", ["caf\u00e9", "\ud800", "\0", " ", "=" * 28, "x" * 1_000_000])
def test_a_signature_that_is_none_is_a_mismatch(signature: str) -> None:
    assert post(signature).reason is Refusal.SIGNATURE_MISMATCH


@pytest.mark.parametrize(
    "change", [str.lower, lambda s: s + "=", lambda s: s + " ", lambda s: s[:-1]]
)
def test_a_signature_fits_in_one_spelling_only(change: Any) -> None:
    signature = sign(url=URL, params=FIELDS, auth_token=TOKEN)
    assert post(change(signature)).reason is Refusal.SIGNATURE_MISMATCH


def test_sign_leaves_out_what_twilio_leaves_out() -> None:
    bare = sign(url="https://example.com:8443/a?b=1", auth_token=TOKEN)
    assert sign(url="https://u:p@example.com:8443/a?b=1#rc=5", auth_token=TOKEN) == bare
    assert sign(url="https://example.com/a?b=1", auth_token=TOKEN) != bare


def test_what_people_wrote_is_not_in_the_repr_of_a_verdict() -> None:
    url = URL + "?" + urlencode({"Body": "secret"})
    assert "secret" not in repr(get(sign(url=url, auth_token=TOKEN), url))
    assert "secret" not in repr(
        post(sign(url=URL, params=[("Body", "secret")], auth_token=TOKEN), body=b"Body=secret")
    )


def test_the_encoding_of_a_space_does_not_matter() -> None:
    body = "&".join(f"{quote(name)}={quote(value)}" for name, value in FIELDS).encode()
    assert b"%20" in body
    assert post(sign(url=URL, params=FIELDS, auth_token=TOKEN), body=body)
