"""Segments are counted as carriers count them, and none divides what belongs together."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from offhook.core.segments import Encoding, segmented, segments_of

SMS = "+15551230001"

# 3GPP TS 23.038, 6.2.1, by code point: the table's 127 characters, without the escape at 0x1B.
BASIC = {
    *(0x40, 0xA3, 0x24, 0xA5, 0xE8, 0xE9, 0xF9, 0xEC, 0xF2, 0xC7, 0x0A, 0xD8, 0xF8, 0x0D, 0xC5),
    *(0xE5, 0x394, 0x5F, 0x3A6, 0x393, 0x39B, 0x3A9, 0x3A0, 0x3A8, 0x3A3, 0x398, 0x39E, 0xC6),
    *(0xE6, 0xDF, 0xC9, 0xA4, 0xA1, 0xC4, 0xD6, 0xD1, 0xDC, 0xA7, 0xBF, 0xE4, 0xF6, 0xF1, 0xFC),
    *(0xE0, *range(0x20, 0x24), *range(0x25, 0x40), *range(0x41, 0x5B), *range(0x61, 0x7B)),
}
EXTENSION = {0x0C, 0x5E, 0x7B, 0x7D, 0x5C, 0x5B, 0x7E, 0x5D, 0x7C, 0x20AC}

GSM_TEXTS = st.text(st.sampled_from([chr(code) for code in sorted(BASIC | EXTENSION)]))
TEXTS = st.text(st.sampled_from("aé€{\u2019ж🙂\ud83d\ude42"), max_size=700) | GSM_TEXTS | st.text()
COMMON = settings(deadline=None, max_examples=200, derandomize=True)


def units(text: str, encoding: Encoding) -> int:
    if encoding is Encoding.UCS_2:
        return len(text.encode("utf-16-le")) // 2
    return len(text) + sum(ord(char) in EXTENSION for char in text)


def test_the_alphabet_is_that_of_gsm() -> None:
    assert len(BASIC) == 127
    fits = {code for code in range(0x3000) if segmented(chr(code)).encoding is Encoding.GSM_7}
    assert fits == BASIC | EXTENSION


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 1),
        ("a" * 160, 1),
        ("a" * 161, 2),
        ("a" * 306, 2),
        ("é" * 307, 3),
        ("€" * 80, 1),
        ("€" * 81, 2),
        ("a" * 159 + "€", 2),
        ("ж" * 70, 1),
        ("ж" * 71, 2),
        ("ж" * 135, 3),
        ("🙂" * 35, 1),
        ("🙂" * 36, 2),
        # 153 and 67 are odd, so that a pair would be divided at the end of each segment.
        ("€" * 153, 3),
        ("🙂" * 67, 3),
    ],
)
def test_texts_at_the_limits(text: str, count: int) -> None:
    assert segmented(text).count == segments_of(text, SMS) == count


def test_one_curly_quote_doubles_a_text_and_is_named() -> None:
    straight = "We've kept a table for two at eight o'clock. " * 3
    curly = straight.replace("o'", "o\N{RIGHT SINGLE QUOTATION MARK}")
    assert (segmented(straight).count, segmented(straight).forcing) == (1, ())
    assert (segmented(curly).count, segmented(curly).forcing) == (
        3,
        ("\N{RIGHT SINGLE QUOTATION MARK}",),
    )


@pytest.mark.parametrize("to", ["whatsapp:+15551230001", "WhatsApp:+1555", "rcs:+1555"])
def test_other_channels_have_no_segments(to: str) -> None:
    assert segments_of("a" * 161, to) == 0


@COMMON
@given(TEXTS)
def test_nothing_is_lost_and_every_segment_fits(text: str) -> None:
    found = segmented(text)
    joined = "".join(found.parts)
    assert joined == text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    room = found.encoding.single if found.count == 1 else found.encoding.joined
    assert all(units(part, found.encoding) <= room for part in found.parts)


@COMMON
@given(TEXTS)
def test_no_segment_has_room_for_what_begins_the_next(text: str) -> None:
    found = segmented(text)
    for part, following in zip(found.parts, found.parts[1:], strict=False):
        assert units(part + following[0], found.encoding) > found.encoding.joined
    if found.count > 1:
        assert units("".join(found.parts), found.encoding) > found.encoding.single


@COMMON
@given(TEXTS)
def test_the_characters_that_force_ucs_2_are_all_that_do(text: str) -> None:
    found = segmented(text)
    assert bool(found.forcing) == (found.encoding is Encoding.UCS_2)
    without = "".join(char for part in found.parts for char in part if char not in found.forcing)
    assert segmented(without).encoding is Encoding.GSM_7
    assert all(segmented(char).encoding is Encoding.UCS_2 for char in found.forcing)
