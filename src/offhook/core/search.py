"""Search in message texts, within their stored forms."""

import re
from dataclasses import dataclass
from typing import Final, Self
from urllib.parse import unquote_to_bytes

SCAN_LIMIT: Final = 20_000
"""Messages scanned by one search: 0.1 s with a million stored (benchmarks/dashboard.py)."""

_BODY: Final = b"&Body="
# The first byte of a character beyond ASCII, encoded or not. Decoding takes ten times as long.
_BEYOND: Final = re.compile(rb"%[c-fC-F]|[\xc2-\xf4]")
# Never encoded in forms (https://url.spec.whatwg.org/#urlencoded-serializing).
_PLAIN: Final = re.compile(r"[0-9a-z]+")


@dataclass(frozen=True, slots=True)
class Phrase:
    """A phrase to search for, in any case.

    Attributes:
        words: in lower case.
        plain: the longest part that form encoding leaves unchanged, in lower case; may be empty.
            Forms without it are skipped without decoding.
    """

    words: str
    plain: bytes

    @classmethod
    def of(cls, text: str) -> Self:
        """Parse a query."""
        words = text.strip().lower()
        return cls(words, max(_PLAIN.findall(words), key=len, default="").encode())

    def is_in(self, form: bytes) -> bool:
        """Return whether a form's `Body` holds the words."""
        if self.plain and self.plain not in form.lower():
            return False
        body = _body(form)
        if not self.words.isascii() and not _BEYOND.search(body):
            return False
        return self.words in _decoded(body)


def _body(form: bytes) -> bytes:
    """Return a form's `Body`, still encoded; empty if absent. Without `re`, which takes 3 us."""
    start = 0 if form.startswith(_BODY[1:]) else form.find(_BODY) + 1
    if not start and not form.startswith(_BODY[1:]):
        return b""
    end = form.find(b"&", start)
    return form[start + len(_BODY) - 1 : end if end >= 0 else len(form)]


def _decoded(value: bytes) -> str:
    return unquote_to_bytes(value.replace(b"+", b" ")).decode("utf-8", "replace").lower()
