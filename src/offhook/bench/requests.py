"""Signed requests, made before they are sent: all that is left to do with one is to write it."""

import base64
import gc
import hmac
import itertools
import random
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple
from urllib.parse import urlencode, urlsplit

from offhook.bench.target import Target
from offhook.core.messages import Media
from offhook.twilio.simulator.payloads import (
    INBOUND_TYPE,
    STATUS_TYPE,
    Params,
    Text,
    inbound,
    status,
)

_US: Final = "+15005550006"  # Twilio's magic number for tests
_REMEMBERED: Final = 1024  # of the last requests, one is repeated
_STRANGER: Final = "nobody's token"

# What differs between two requests. Letters and digits, so that no encoding changes them.
_SID, _FROM, _NUMBER = "00SID00", "00FROM00", "00NUMBER00"


class Kind(StrEnum):
    """What a request is to the server."""

    FRESH = "fresh"
    MEDIA = "media"
    STATUS = "status"
    REPEAT = "repeat"
    FORGED = "forged"


class Shot(NamedTuple):
    """A request, ready to be sent."""

    data: bytes
    kind: Kind
    sid: str


@dataclass(frozen=True, slots=True)
class Mix:
    """Percentages of what is not a fresh text message.

    Raises:
        ValueError: they are no percentages, or more than 100 in all.
    """

    media: float = 0.0
    statuses: float = 0.0
    repeats: float = 0.0
    forged: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.media, self.statuses, self.repeats, self.forged)
        if min(shares) < 0 or sum(shares) > 100:  # noqa: PLR2004 - percent
            raise ValueError("the percentages must be 0 or more, and not exceed 100 in all")


class Supply:
    """An endless supply of requests to one server, each message with a SID of its own.

    Args:
        target: where they go, and for which URL they are signed.
        account_sid: of the account they say they are from.
        auth_token: signs them; those that are forged are signed with another.
        mix: of what kinds they are.
        conversations: from so many people they come, in turn.
        close: let each end its connection, as Twilio does.
        seed: of the order of the kinds.
    """

    def __init__(
        self,
        target: Target,
        *,
        account_sid: str,
        auth_token: str,
        mix: Mix | None = None,
        conversations: int = 1000,
        close: bool = False,
        seed: int = 0,
    ) -> None:
        self._mix = mix or Mix()
        self._conversations = conversations
        self._random = random.Random(seed)  # noqa: S311 - a run can be repeated
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count()
        self._made: list[Shot] = []
        self._ready: Iterator[Shot] = iter(())
        text = Text(_SID, account_sid, _FROM, _US, f"Hello, is order {_NUMBER} on its way? Thanks!")
        picture = Media(f"https://media.example.com/{_NUMBER}", "image/jpeg")
        photo = Text(_SID, account_sid, _FROM, _US, "Look!", (picture,))
        callback = status(
            sid=_SID, account_sid=account_sid, from_=_US, to=_FROM, status="delivered"
        )

        def template(params: Params, path: str, content_type: str, token: str) -> _Template:
            return _Template(target, path, params, content_type, token, close=close)

        here, there = target.path, target.status_path
        self._templates = {
            Kind.FRESH: template(inbound(text), here, INBOUND_TYPE, auth_token),
            Kind.FORGED: template(inbound(text), here, INBOUND_TYPE, _STRANGER),
            Kind.MEDIA: template(inbound(photo), here, INBOUND_TYPE, auth_token),
            Kind.STATUS: template(callback, there, STATUS_TYPE, auth_token),
        }

    def prepare(self, count: int) -> None:
        """Make so many now; what is asked for beyond them is made when it is asked for."""
        self._ready = iter([self._make() for _ in range(count)])
        gc.freeze()  # or each full collection would stop the load to look at them all

    def __iter__(self) -> Iterator[Shot]:
        return self

    def __next__(self) -> Shot:
        shot = next(self._ready, None)
        return self._make() if shot is None else shot

    def _make(self) -> Shot:
        kind = self._draw()
        if kind is Kind.REPEAT:
            return self._random.choice(self._made)._replace(kind=kind)
        number = next(self._numbers)
        sid = f"{'MM' if kind is Kind.MEDIA else 'SM'}{self._run}{number:016x}"
        sender = f"1555{number % self._conversations:07d}"
        shot = Shot(self._templates[kind].render(sid, sender, number), kind, sid)
        if kind in {Kind.FRESH, Kind.MEDIA} and self._mix.repeats:
            self._remember(shot)
        return shot

    def _remember(self, shot: Shot) -> None:
        if len(self._made) < _REMEMBERED:
            self._made.append(shot)
        else:
            self._made[self._random.randrange(_REMEMBERED)] = shot

    def _draw(self) -> Kind:
        drawn = self._random.random() * 100
        for kind, share in (
            (Kind.REPEAT, self._mix.repeats if self._made else 0.0),
            (Kind.FORGED, self._mix.forged),
            (Kind.MEDIA, self._mix.media),
            (Kind.STATUS, self._mix.statuses),
        ):
            if drawn < share:
                return kind
            drawn -= share
        return Kind.FRESH


class _Template:
    """Requests that differ in their SID, sender and number: 6 µs each, where signing from the
    start takes 43.
    """

    def __init__(
        self,
        target: Target,
        path: str,
        params: Params,
        content_type: str,
        token: str,
        *,
        close: bool,
    ) -> None:
        params = tuple((name, value.replace(_FROM, "+" + _FROM)) for name, value in params)
        self._token = token.encode()
        self._body = _format(urlencode(params))
        self._signed = _format(
            target.signed_base + path + "".join(name + value for name, value in sorted(params))
        )
        self._head = (
            f"POST {path} HTTP/1.1\r\nHost: {urlsplit(target.signed_base).netloc}\r\n"
            "User-Agent: TwilioProxy/1.1\r\nAccept: */*\r\n"
            + ("Connection: close\r\n" if close else "")
            + f"Content-Type: {content_type}\r\nX-Twilio-Signature: "
        )

    def render(self, sid: str, sender: str, number: int) -> bytes:
        values = {"sid": sid, "sender": sender, "number": number}
        signed = (self._signed % values).encode()
        signature = base64.b64encode(hmac.digest(self._token, signed, "sha1")).decode()
        body = self._body % values
        return (
            f"{self._head}{signature}\r\nI-Twilio-Idempotency-Token: {sid}\r\n"
            f"Content-Length: {len(body)}\r\n\r\n{body}"
        ).encode()


def _format(text: str) -> str:
    """Turn the marks in a text into places to be filled in."""
    text = text.replace("%", "%%")
    for mark, name in ((_SID, "sid"), (_FROM, "sender"), (_NUMBER, "number")):
        text = text.replace(mark, f"%({name})s")
    return text
