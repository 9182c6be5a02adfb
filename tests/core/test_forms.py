from collections.abc import Callable
from urllib.parse import parse_qsl, urlencode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.core.forms import (
    MAX_FIELDS,
    Form,
    FormError,
    Refusal,
    _plain,
    _strict,
    decode_form,
    parameters,
)

COMMON = settings(deadline=None, max_examples=200, derandomize=True)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@pytest.mark.parametrize(
    ("body", "fields"),
    [
        (b"", ()),
        (b"A=1", (("A", "1"),)),
        (b"B=2&A=1", (("B", "2"), ("A", "1"))),
        (b"A=", (("A", ""),)),
        (b"A", (("A", ""),)),
        (b"=1", (("", "1"),)),
        (b"=", (("", ""),)),
        (b"A=1&&B=2&", (("A", "1"), ("B", "2"))),
        (b"A=1=2", (("A", "1=2"),)),
        (b"A=1;B=2", (("A", "1;B=2"),)),
        (b"A=1&A=2&A=1", (("A", "1"), ("A", "2"), ("A", "1"))),
        (b"A=+1+", (("A", " 1 "),)),
        (b"A=%201%0d%0A", (("A", " 1\r\n"),)),
        (b"A=%2B1", (("A", "+1"),)),
        (b"A=%252B", (("A", "%2B"),)),
        (b"A=x%26B%3Dy&C%3d=%3D", (("A", "x&B=y"), ("C=", "="))),
        (b"A=%26%F0%9F%91%8d", (("A", "&\U0001f44d"),)),
        (b"A=%c3%A9", (("A", "é"),)),
        (b"A=\xc3\xa9%C3%A9", (("A", "éé"),)),
        (b"A=%00", (("A", "\0"),)),
        (b"A=%EF%BB%BFx", (("A", "\ufeffx"),)),
    ],
)
def test_a_body_is_decoded_as_it_was_sent(body: bytes, fields: tuple[tuple[str, str], ...]) -> None:
    assert decode_form(body).fields == fields


@pytest.mark.parametrize(
    ("body", "refusal"),
    [
        (b"A=%", Refusal.MALFORMED_FORM),
        (b"A=%4", Refusal.MALFORMED_FORM),
        (b"A=%4&B=1", Refusal.MALFORMED_FORM),
        (b"A=%zz", Refusal.MALFORMED_FORM),
        (b"A=%\r", Refusal.MALFORMED_FORM),
        (b"A=%\n", Refusal.MALFORMED_FORM),
        (b"A=%\r\n&B=1", Refusal.MALFORMED_FORM),
        (b"A=%+1", Refusal.MALFORMED_FORM),
        (b"A=%%41", Refusal.MALFORMED_FORM),
        (b"%=1", Refusal.MALFORMED_FORM),
        (b"A=%26%4", Refusal.MALFORMED_FORM),
        (b"A=%\xc2\xb2\xc2\xb2", Refusal.MALFORMED_FORM),
        (b"A=%FF", Refusal.NOT_UTF8),
        (b"A=%26%FF", Refusal.NOT_UTF8),
        (b"A=\xff", Refusal.NOT_UTF8),
        (b"A=%C3&B=%A9", Refusal.NOT_UTF8),
        (b"A=%ED%A0%80", Refusal.NOT_UTF8),
        (b"A=%C0%80", Refusal.NOT_UTF8),
    ],
)
def test_what_cannot_be_decoded_is_refused(body: bytes, refusal: Refusal) -> None:
    with pytest.raises(FormError) as caught:
        decode_form(body)
    assert caught.value.refusal is refusal


def test_the_limit_on_fields_is_exact() -> None:
    assert len(decode_form(b"&".join([b"A=1"] * MAX_FIELDS)).fields) == MAX_FIELDS
    with pytest.raises(FormError) as caught:
        decode_form(b"&".join([b"A=1"] * (MAX_FIELDS + 1)))
    assert caught.value.refusal is Refusal.TOO_MANY_FIELDS


def test_get_returns_the_first_value() -> None:
    form = decode_form(b"A=1&A=2&B=")
    assert (form.get("A"), form.get("B", "x"), form.get("C"), form.get("C", "x")) == (
        "1",
        "",
        "",
        "x",
    )
    assert form.first == {"A": "1", "B": ""}


def test_what_people_wrote_is_not_in_the_repr() -> None:
    assert "secret" not in repr(decode_form(b"Body=secret"))


def test_forms_with_the_same_fields_are_equal() -> None:
    assert decode_form(b"A=1&B=%32") == Form.of([("A", "1"), ("B", "2")])
    assert decode_form(b"A=1&B=2") != Form.of([("B", "2"), ("A", "1")])


@COMMON
@given(st.lists(st.tuples(TEXT, TEXT)))
def test_what_was_encoded_comes_back(pairs: list[tuple[str, str]]) -> None:
    assert decode_form(urlencode(pairs).encode()).fields == tuple(pairs)


# Mostly the bytes that mean something in a form, so that the decoder's branches are met.
FORMISH = st.lists(
    st.sampled_from([b"&", b"=", b"+", b"%", b"%2", b"%26", b"%3d", b"%C3%A9", b"a", b"4", b"\xc3"])
    | st.binary(max_size=2),
    max_size=25,
).map(b"".join)


@COMMON
@given(st.binary() | FORMISH)
def test_any_bytes_are_decoded_as_the_standard_library_does_or_refused(body: bytes) -> None:
    try:
        form = decode_form(body)
    except FormError:
        return
    expected = parse_qsl(body.decode(), keep_blank_values=True, errors="strict")
    assert form.fields == tuple(expected)


# What the quick way has to tell from its own separators and escapes, or to leave to the other.
HOSTILE = [
    *(b"\0", b"\1", b"\r", b"\n", b"\r\n", b"=\n", b"=\r\n", b"==", b"%=", b"%%", b"% "),
    *(b"%\n", b"%\r", b"%\r\n", b"x\0y", b"x\1y", b"x%00y", b"x%01y", b"N%00V", b"N%00V%01N=V"),
    *(b"%00", b"%01", b"%0A", b"%0d", b"%3D", b"%26", b"%25", b"%2B", b"%20", b"%C3%A9", b"%c3%"),
    *(b"%4", b"%4g", b"%g4", b"%F0%9F%91%8D", b"%FF", b"%ED%A0%80", b"\xc3\xa9", b"\xff", b"\x80"),
    *(b"=", b"&", b"+", b"%", b"_", b" ", b"\t", b"a", b"A=1", b"&B=2", b"Body=hello+there"),
]
FIELDS = st.lists(
    st.lists(st.sampled_from(HOSTILE) | st.binary(max_size=3), max_size=8).map(b"".join),
    max_size=6,
)


def outcome(decode: Callable[[bytes], Form], body: bytes) -> object:
    """Return what a decoder comes to: the fields, or why there are none."""
    try:
        return decode(body).fields
    except FormError as error:
        return error.refusal


def strictly(body: bytes) -> Form:
    return Form.of(_strict(body))


@settings(COMMON, max_examples=1_000)
@given(FIELDS.map(b"&".join) | FIELDS.map(b"&B=1&".join) | FORMISH)
def test_the_quick_way_comes_to_what_the_strict_one_does(body: bytes) -> None:
    assert outcome(decode_form, body) == outcome(strictly, body)


@COMMON
@given(st.dictionaries(TEXT, TEXT, min_size=1, max_size=40), st.sampled_from(HOSTILE), st.data())
def test_a_genuine_form_with_something_more_in_it_is_read_alike(
    fields: dict[str, str], more: bytes, data: st.DataObject
) -> None:
    body = urlencode(fields).encode()
    place = data.draw(st.integers(0, len(body)))
    body = body[:place] + more + body[place:]
    assert outcome(decode_form, body) == outcome(strictly, body)


@pytest.mark.parametrize("last", HOSTILE)
def test_as_many_fields_as_there_may_be_are_read_alike(last: bytes) -> None:
    body = b"&".join(b"N%d=%%41" % number for number in range(MAX_FIELDS - 1)) + last
    assert outcome(decode_form, body) == outcome(strictly, body)


WRITTEN = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\1"), max_size=30)


@COMMON
@given(st.dictionaries(WRITTEN, WRITTEN, min_size=1))
def test_what_people_write_goes_the_quick_way(fields: dict[str, str]) -> None:
    assert _plain(urlencode(fields).encode(), len(fields)) == fields


def test_of_a_name_that_comes_twice_operators_see_the_value_that_handlers_get() -> None:
    """As when the URL of a webhook has a query, which is stored behind the form."""
    form = b"Body=hello&From=%2B15551230001&Body=of+the+URL"
    seen = parameters(form)
    assert seen == decode_form(form).first == {"Body": "hello", "From": "+15551230001"}
    assert list(seen) == ["Body", "From"]
