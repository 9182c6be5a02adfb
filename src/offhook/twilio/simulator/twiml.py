"""Parse the TwiML of a webhook's response as Twilio does.

https://www.twilio.com/docs/messaging/twiml
"""

from dataclasses import dataclass
from typing import Final
from xml.etree import ElementTree as ET

MAX_ANSWER: Final = 64 * 1024
"""Bytes: https://www.twilio.com/docs/api/errors/11750"""

MAX_MESSAGES: Final = 10
"""`<Message>` elements in one response: https://www.twilio.com/docs/api/errors/14109"""

_XML: Final = frozenset({"text/xml", "application/xml", "text/html"})


@dataclass(frozen=True, slots=True)
class Said:
    """One message to the person."""

    body: str
    media: tuple[str, ...] = ()
    to: str = ""


@dataclass(frozen=True, slots=True)
class TwimlResult:
    """The messages of a response, or Twilio's error code for it."""

    said: tuple[Said, ...] = ()
    error: int | None = None


def parse_twiml(content_type: str, body: bytes) -> TwimlResult:
    """Parse the response to a message's webhook.

    `text/plain` is sent to the person unchanged, as Twilio does. An empty body sends nothing.
    """
    if len(body) > MAX_ANSWER:
        return TwimlResult(error=11750)
    if not body:
        return TwimlResult()
    kind = content_type.partition(";")[0].strip().lower()
    if kind == "text/plain":
        return TwimlResult((Said(body.decode("utf-8", "replace")),))
    return _read_xml(body) if kind in _XML else TwimlResult(error=12300)


def _read_xml(body: bytes) -> TwimlResult:
    try:
        root = ET.fromstring(body)  # noqa: S314 - at most 64 kB of our own webhook's
    except (ET.ParseError, LookupError, ValueError):  # the last two: unknown encodings
        return TwimlResult(error=12100)
    if root.tag != "Response":
        return TwimlResult(error=12102)
    said = tuple(_said(verb) for verb in root if verb.tag in {"Message", "Sms"})
    return TwimlResult(said[:MAX_MESSAGES], 14109 if len(said) > MAX_MESSAGES else None)


def _said(verb: ET.Element) -> Said:
    nested = verb.findall("Body")
    texts = [part.text or "" for part in nested] if nested else [verb.text or ""]
    return Said(
        body="".join(texts).strip(),
        media=tuple((media.text or "").strip() for media in verb.findall("Media")),
        to=verb.get("to", ""),
    )
