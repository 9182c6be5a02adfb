"""How many SMS segments a text takes. A carrier's price is per segment, not per message.

The alphabet is that of GSM 03.38, now 3GPP TS 23.038, section 6.2.1; the numbers are Twilio's:
https://www.twilio.com/docs/glossary/what-sms-character-limit
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from offhook.core.addresses import channel_of
from offhook.core.texts import well_formed

# The rows 0x00 to 0x70 of the default alphabet. 0x1B is no character, but the escape to the next.
_BASIC: Final = frozenset(
    "@£$¥èéùìòÇ\nØø\rÅå"
    "Δ_ΦΓΛΩΠΨΣΘΞÆæßÉ"
    " !\"#¤%&'()*+,-./"
    "0123456789:;<=>?"
    "¡ABCDEFGHIJKLMNO"
    "PQRSTUVWXYZÄÖÑÜ§"
    "¿abcdefghijklmno"
    "pqrstuvwxyzäöñüà"
)
# The default extension table: each is sent as an escape and a second character.
_EXTENSION: Final = frozenset("\f^{}\\[~]|€")

_GSM: Final = _BASIC | _EXTENSION
_ASTRAL: Final = 0x10000  # from here on, a character is a surrogate pair in UCS-2


class Encoding(StrEnum):
    """How an SMS is encoded: in 7 bits a character if all are of the alphabet, else in 16."""

    GSM_7 = "GSM-7"
    UCS_2 = "UCS-2"

    @property
    def single(self) -> int:
        """The units that a message of one segment has room for."""
        return 160 if self is Encoding.GSM_7 else 70

    @property
    def joined(self) -> int:
        """The units of each of several segments: a header of 6 bytes joins them."""
        return 153 if self is Encoding.GSM_7 else 67


@dataclass(frozen=True, slots=True)
class Segmented:
    """A text as SMS segments.

    Attributes:
        encoding: of all segments.
        parts: the text of each segment, in order; one empty part for an empty text.
        forcing: the characters that are not of the GSM alphabet, each once, in the order of the
            text. They are why it is UCS-2.
    """

    encoding: Encoding
    parts: tuple[str, ...]
    forcing: tuple[str, ...] = ()

    @property
    def count(self) -> int:
        """The number of segments."""
        return len(self.parts)


def segmented(text: str) -> Segmented:
    """Return a text's segments. No character with an escape, and no surrogate pair, is divided."""
    text = well_formed(text)
    forcing = tuple(dict.fromkeys(char for char in text if char not in _GSM))
    encoding = Encoding.UCS_2 if forcing else Encoding.GSM_7
    return Segmented(encoding, tuple(_parts(text, encoding)), forcing)


def segments_of(text: str, to: str) -> int:
    """Return the number of segments of a text to an address; 0 on a channel other than SMS."""
    return segmented(text).count if channel_of(to) == "sms" else 0


def _parts(text: str, encoding: Encoding) -> Iterator[str]:
    widths = [_width(char, encoding) for char in text]
    start = used = 0
    if sum(widths) > encoding.single:
        for position, width in enumerate(widths):
            if used + width > encoding.joined:
                yield text[start:position]
                start, used = position, 0
            used += width
    yield text[start:]


def _width(char: str, encoding: Encoding) -> int:
    if encoding is Encoding.GSM_7:
        return 2 if char in _EXTENSION else 1
    return 2 if ord(char) >= _ASTRAL else 1
