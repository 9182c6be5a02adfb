"""A fingerprint stands for one request: whatever differs in two requests, it differs too."""

import os
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.core.keys import Kind
from offhook.core.requests import Request

SECRET = bytes(range(32))
TEXT = st.text(max_size=6)
BYTES = st.binary(max_size=6)

requests = st.fixed_dictionaries(
    {
        "kind": st.sampled_from([Kind.MESSAGE, Kind.STATUS]),
        "method": st.sampled_from(["GET", "POST"]),
        "base": TEXT,
        "path": TEXT,
        "query": BYTES,
        "content_type": st.none() | TEXT,
        "signature": TEXT,
        "body": BYTES,
    }
)


def of(request: dict[str, Any], secret: bytes = SECRET) -> bytes:
    return Request(**request, started=0.0).fingerprint(secret)


def test_versions_that_share_a_cache_agree() -> None:
    request = Request(
        Kind.MESSAGE, "POST", "https://bot.example.com", "/twilio/messages", b"a=b",
        "application/x-www-form-urlencoded", "c2lnbmVk", b"Body=hello", 0.0,
    )  # fmt: skip
    assert (
        request.fingerprint(SECRET).hex()
        == "98f871e9205d110814f278aba7986f7dac096a404cf726219b2b6878f2a14e1e"
    )
    absent = request._replace(content_type=None, kind=Kind.STATUS)
    assert (
        absent.fingerprint(SECRET).hex()
        == "08e3eabe97206d99e393768a1aa48a217a4f98b1a19a11d58d96a23dcfe946a9"
    )


@given(requests, requests)
def test_two_requests_have_one_fingerprint_only_if_they_are_the_same(
    one: dict[str, Any], other: dict[str, Any]
) -> None:
    assert (of(one) == of(other)) == (one == other)


@given(requests, st.data())
def test_what_moves_from_one_part_to_the_next_is_noticed(
    request: dict[str, Any], data: st.DataObject
) -> None:
    texts = ("base", "path", "signature")
    one, other = data.draw(st.permutations(texts))[:2]
    moved = dict(request)
    moved[one], moved[other] = request[one] + request[other], ""
    assert (of(moved) == of(request)) == (moved == request)


def test_bytes_that_are_no_text_are_told_from_their_escapes() -> None:
    request: dict[str, Any] = {
        "kind": Kind.MESSAGE, "method": "GET", "base": "b", "path": "/", "query": b"",
        "content_type": None, "signature": "s", "body": b"",
    }  # fmt: skip
    paths = ["/é", "/\udcc3\udca9", "/\udcc3"]
    assert len({of({**request, "path": path}) for path in paths}) == 3


@pytest.mark.parametrize("size", [0, 1, 100_000])
def test_another_secret_gives_another_fingerprint(size: int) -> None:
    request: dict[str, Any] = {
        "kind": Kind.MESSAGE, "method": "POST", "base": "b", "path": "/", "query": b"",
        "content_type": "c", "signature": "s", "body": bytes(size),
    }  # fmt: skip
    assert of(request) != of(request, os.urandom(32))
    assert len(of(request)) == 32
