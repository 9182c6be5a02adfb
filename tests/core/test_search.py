from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.core.search import Phrase

WORDS = st.text(min_size=1, max_size=20).filter(lambda text: text.strip() != "")


def form(body: str, *, by: str = "+") -> bytes:
    encode = quote_plus if by == "+" else quote
    return f"From=%2B15551230001&Body={encode(body, errors='replace')}&NumMedia=0".encode()


@given(before=st.text(max_size=20), words=WORDS, after=st.text(max_size=20))
@pytest.mark.parametrize("by", ["+", "%20"])
def test_what_was_written_is_found_however_it_was_encoded(
    before: str, words: str, after: str, by: str
) -> None:
    words = words.encode("utf-8", "replace").decode()
    assert Phrase.of(words).is_in(form(before + words + after, by=by))


@given(st.text(alphabet="aäSÖé x", min_size=1).filter(lambda text: text.strip() != ""))
def test_upper_and_lower_case_are_the_same(words: str) -> None:
    for body in (words.upper(), words.lower(), words.swapcase()):
        assert Phrase.of(words).is_in(form(body))


@pytest.mark.parametrize(
    ("words", "body"),
    [
        ("table", "Two tables, please"),
        ("ÄRGER", "so ein ärger"),
        ("привет", "ПРИВЕТ!"),
        ("50 % off", "now 50 % off"),
        ("😀", "hi 😀"),
    ],
)
def test_found(words: str, body: str) -> None:
    assert Phrase.of(words).is_in(form(body))


def test_a_text_that_is_not_encoded_is_found_too() -> None:
    assert Phrase.of("ärger").is_in("From=1&Body=So ein Ärger".encode())


@pytest.mark.parametrize("words", ["nummedia", "15551230001", "from", "&", "="])
def test_other_fields_are_not_what_somebody_wrote(words: str) -> None:
    assert not Phrase.of(words).is_in(form("hello"))
    assert not Phrase.of("hello").is_in(b"ReferralBody=hello")


@pytest.mark.parametrize(
    "form", [b"Body=hello", b"A=1&Body=hello", b"Body=hello&A=1", b"&Body=hello"]
)
def test_the_text_is_found_wherever_it_stands(form: bytes) -> None:
    assert Phrase.of("hello").is_in(form)


@pytest.mark.parametrize("form", [b"", b"A=hello", b"Body=", b"Body=&A=hello", b"A=1&Body"])
def test_there_may_be_no_text(form: bytes) -> None:
    assert not Phrase.of("hello").is_in(form)
