"""What comes out of Redis is believed only if this deployment has written it, for this request."""

import os
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.cache.signing import CLOCK_SKEW, EntrySigner, store_identity
from offhook.core.forms import Refusal
from offhook.core.keys import Kind
from offhook.core.responses import REFUSED, STORED
from offhook.ports import CachedVerdict, ValidationCacheEntry
from tests.cache.support import STORE, TOKEN, entry, signer

NOW = 1_700_000_000.0
KEY = bytes(range(32))


def signed(one: ValidationCacheEntry, key: bytes = KEY) -> bytes:
    text = signer().sign(key, one)
    assert text is not None
    return text


names = st.text(st.characters(exclude_categories=["Cs"]), max_size=40)


@given(names, names, st.sampled_from([Kind.MESSAGE, Kind.STATUS]))
def test_an_entry_comes_back_as_it_was(sid: str, sender: str, kind: Kind) -> None:
    one = ValidationCacheEntry(CachedVerdict.VALID, STORED[kind], NOW, sid, sender)
    assert signer().verified(KEY, signed(one), NOW + 1.0) == one


@given(st.data())
def test_an_entry_that_was_touched_is_not_believed(data: st.DataObject) -> None:
    text = signed(entry(time=NOW))
    changed = data.draw(
        st.one_of(
            st.integers(0, len(text) - 1).map(lambda n: text[:n]),
            st.binary(min_size=1, max_size=20).map(lambda more: text + more),
            st.tuples(st.integers(0, len(text) - 1), st.integers(1, 255)).map(
                lambda at: text[: at[0]] + bytes([text[at[0]] ^ at[1]]) + text[at[0] + 1 :]
            ),
            st.binary(max_size=120),
            st.sampled_from([None, 1, "text", [text]]),
        )
    )
    assert signer().verified(KEY, changed, NOW) is None


def test_an_entry_is_for_its_request_alone() -> None:
    assert signer().verified(os.urandom(32), signed(entry(time=NOW)), NOW) is None


@pytest.mark.parametrize("other", [signer(token="another"), signer(store="postgresql://other/x")])
def test_another_deployment_is_not_believed_though_it_knows_the_fingerprint(
    other: EntrySigner,
) -> None:
    text = other.sign(KEY, entry(time=NOW))
    assert signer().verified(KEY, text, NOW) is None
    assert other.secret != signer().secret


@pytest.mark.parametrize(
    ("age", "believed"),
    [(0.0, True), (299.0, True), (300.0, False), (-CLOCK_SKEW + 1, True), (-CLOCK_SKEW, False)],
)
def test_an_entry_is_believed_while_it_is_young(age: float, believed: bool) -> None:
    found = signer(ttl=300.0).verified(KEY, signed(entry(time=NOW)), NOW + age)
    assert (found is not None) == believed


def test_refusals_are_not_shared() -> None:
    answer = REFUSED[Refusal.SIGNATURE_MISMATCH]
    refused = ValidationCacheEntry(CachedVerdict.REFUSED, answer, time.time())
    assert signer().sign(KEY, refused) is None


def test_the_order_of_the_tokens_makes_no_difference_and_their_bounds_do() -> None:
    def secret(*tokens: str) -> bytes:
        return EntrySigner(tokens=tokens, store=STORE, ttl=1.0).secret

    assert secret("a", TOKEN) == secret(TOKEN, "a")
    assert secret("ab", "c") != secret("a", "bc")


def test_a_store_is_named_without_what_is_secret_or_beside_the_point() -> None:
    named = store_identity("postgresql://user:hush@db.example:5432/offhook?sslmode=require")
    assert named == "postgresql://db.example:5432/offhook"
    several = store_identity("postgresql://user:hush@h1:5432,[::1]:5433/db")
    assert several == "postgresql://h1:5432,[::1]:5433/db"
    assert store_identity("sqlite:///a.db") != store_identity("sqlite:////tmp/a.db")
