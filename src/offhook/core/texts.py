"""Message texts for Twilio: well-formed, measured in UTF-16, split at word boundaries."""

import re
import unicodedata
from itertools import takewhile
from typing import Final

MAX_BODY: Final = 1600
"""Characters in one message: https://www.twilio.com/docs/api/errors/21617

Counted in UTF-16 code units, as emoji "can use more space". Whether Twilio counts that way could
not be verified; a text within this limit fits either way.
"""

MAX_LINE: Final = 2048
"""Characters that are kept of a text of another server's: a URL at Twilio has no more."""

_SPACE: Final = re.compile(r"\s+")
_ASTRAL: Final = 0x10000
_JOINER: Final = "\N{ZERO WIDTH JOINER}"
_SKIN_TONES: Final = range(0x1F3FB, 0x1F400)
_FLAG_LETTERS: Final = range(0x1F1E6, 0x1F200)
_HANGUL_TAILS: Final = range(0x1160, 0x1200)  # vowels and finals, written behind their initial
_TAGS: Final = range(0xE0020, 0xE0080)  # of the flags of Scotland, Wales, ...

_REACH: Final = 64
"""Characters to look back for the start of a grapheme cluster; the longest emoji have 14."""


def well_formed(text: str) -> str:
    """Join surrogate pairs, and replace lone surrogates by U+FFFD.

    `json.loads` returns surrogates if each was escaped by itself, or the text was cut between them.
    """
    if text.isascii():
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def one_line(text: str, most: int = MAX_LINE) -> str:
    """Return the beginning of an untrusted text, on one line."""
    text = well_formed(text[:most])
    return "".join(char if char.isprintable() else " " for char in text)


def units(text: str) -> int:
    """Return the number of UTF-16 code units of a text: an emoji has two."""
    return len(text) if text.isascii() else len(text.encode("utf-16-le", "surrogatepass")) // 2


def split_text(text: str, limit: int = MAX_BODY) -> tuple[str, ...]:
    """Split a text into parts of at most `limit` code units, between words where possible.

    A longer word is split between grapheme clusters, unless one cluster alone exceeds `limit`,
    which is at least 2. Only white space at the splits is lost. A text that fits is unchanged.
    """
    if units(text) <= limit:
        return (text,)
    text, start, parts = text.strip(), 0, []
    while (most := _fitting(text, start, limit)) < len(text) - start:
        # A break right behind the limit still leaves `limit` units in front of it.
        piece = text[start : start + most + 1]
        spaces = [m.start() for m in _SPACE.finditer(piece)]
        cut = spaces[-1] if spaces and spaces[-1] > 0 else _between_characters(piece, most)
        parts.append(piece[:cut].rstrip())
        space = _SPACE.match(text, start + cut)
        start = start + cut if space is None else space.end()
    return (*parts, text[start:])


def _fitting(text: str, start: int, limit: int) -> int:
    """Return how many code points from `start` on fit into `limit` code units."""
    left = limit
    for number, char in enumerate(text[start : start + limit]):
        left -= 1 if ord(char) < _ASTRAL else 2
        if left < 0:
            return number
    return min(limit, len(text) - start)


def _between_characters(text: str, most: int) -> int:
    """Return the last position up to `most` that is not within a grapheme cluster."""
    cuts = (cut for cut in range(most, max(0, most - _REACH), -1) if not _continues(text, cut))
    return next(cuts, most)


def _continues(text: str, at: int) -> bool:
    """Return whether the character at a position continues the grapheme cluster before it.

    The rules of https://www.unicode.org/reports/tr29/ that matter in messages: marks, joined
    emoji, skin tones, flags and decomposed Hangul.
    """
    char, code = text[at], ord(text[at])
    if char == _JOINER or text[at - 1] == _JOINER:
        return True
    if code in _FLAG_LETTERS:  # they come in pairs
        before = takewhile(lambda letter: ord(letter) in _FLAG_LETTERS, reversed(text[:at]))
        return sum(1 for _ in before) % 2 == 1
    if code in _SKIN_TONES or code in _HANGUL_TAILS or code in _TAGS:
        return True
    return unicodedata.category(char).startswith("M")
