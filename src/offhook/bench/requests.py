"""Signed webhook requests, made in advance, so that sending one is a single write."""

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
from offhook.core.messages import Attachment
from offhook.twilio.simulator.payloads import (
    INBOUND_TYPE,
    STATUS_TYPE,
    Params,
    Text,
    inbound,
    status,
)

_OUR_NUMBER: Final = "+15005550006"  # Twilio's magic number for tests
_REMEMBERED: Final = 1024  # latest requests, from which repeats are drawn
_WRONG_TOKEN: Final = "forged"  # noqa: S105 - signs the forged requests

# Placeholders for what differs between requests. Letters and digits: no encoding changes them.
_SID, _FROM, _NUMBER = "00SID00", "00FROM00", "00NUMBER00"


class RequestKind(StrEnum):
    """What kind of webhook a request is."""

    FRESH = "fresh"
    MEDIA = "media"
    STATUS = "status"
    REPEAT = "repeat"
    FORGED = "forged"


class SignedRequest(NamedTuple):
    """A request, ready to send."""

    data: bytes
    kind: RequestKind
    sid: str


@dataclass(frozen=True, slots=True)
class Mix:
    """Percentages of requests other than new text messages.

    Raises:
        ValueError: one is negative, or they exceed 100 in all.
    """

    media: float = 0.0
    statuses: float = 0.0
    repeats: float = 0.0
    forged: float = 0.0

    def __post_init__(self) -> None:
        shares = (self.media, self.statuses, self.repeats, self.forged)
        if min(shares) < 0 or sum(shares) > 100:  # noqa: PLR2004 - percent
            raise ValueError("the percentages must be 0 or more, and not exceed 100 in all")


class RequestSource:
    """An endless iterator of requests to one server, each message with its own SID.

    Args:
        target: the server, and the URL to sign for.
        account_sid: the `AccountSid` of the requests.
        auth_token: signs all but the forged ones.
        mix: the kinds of requests.
        conversations: the number of senders, who take turns.
        close: send `Connection: close`, as Twilio does.
        seed: of the random order of kinds.
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
        self._made: list[SignedRequest] = []
        self._ready: Iterator[SignedRequest] = iter(())
        text = Text(
            _SID, account_sid, _FROM, _OUR_NUMBER, f"Hello, is order {_NUMBER} on its way? Thanks!"
        )
        picture = Attachment(f"https://media.example.com/{_NUMBER}", "image/jpeg")
        photo = Text(_SID, account_sid, _FROM, _OUR_NUMBER, "Look!", (picture,))
        callback = status(
            sid=_SID, account_sid=account_sid, from_=_OUR_NUMBER, to=_FROM, status="delivered"
        )

        def template(params: Params, path: str, content_type: str, token: str) -> _Template:
            return _Template(target, path, params, content_type, token, close=close)

        here, there = target.path, target.status_path
        self._templates = {
            RequestKind.FRESH: template(inbound(text), here, INBOUND_TYPE, auth_token),
            RequestKind.FORGED: template(inbound(text), here, INBOUND_TYPE, _WRONG_TOKEN),
            RequestKind.MEDIA: template(inbound(photo), here, INBOUND_TYPE, auth_token),
            RequestKind.STATUS: template(callback, there, STATUS_TYPE, auth_token),
        }

    def prepare(self, count: int) -> None:
        """Make `count` requests in advance; further ones are made as they are taken."""
        self._ready = iter([self._make() for _ in range(count)])
        gc.freeze()  # or every full collection would scan them all, and pause the load

    def __iter__(self) -> Iterator[SignedRequest]:
        return self

    def __next__(self) -> SignedRequest:
        request = next(self._ready, None)
        return self._make() if request is None else request

    def _make(self) -> SignedRequest:
        kind = self._draw()
        if kind is RequestKind.REPEAT:
            return self._random.choice(self._made)._replace(kind=kind)
        number = next(self._numbers)
        sid = f"{'MM' if kind is RequestKind.MEDIA else 'SM'}{self._run}{number:016x}"
        sender = f"1555{number % self._conversations:07d}"
        request = SignedRequest(self._templates[kind].render(sid, sender, number), kind, sid)
        if kind in {RequestKind.FRESH, RequestKind.MEDIA} and self._mix.repeats:
            self._remember(request)
        return request

    def _remember(self, request: SignedRequest) -> None:
        if len(self._made) < _REMEMBERED:
            self._made.append(request)
        else:
            self._made[self._random.randrange(_REMEMBERED)] = request

    def _draw(self) -> RequestKind:
        drawn = self._random.random() * 100
        for kind, share in (
            (RequestKind.REPEAT, self._mix.repeats if self._made else 0.0),
            (RequestKind.FORGED, self._mix.forged),
            (RequestKind.MEDIA, self._mix.media),
            (RequestKind.STATUS, self._mix.statuses),
        ):
            if drawn < share:
                return kind
            drawn -= share
        return RequestKind.FRESH


class _Template:
    """Requests that differ in SID, sender and number: 6 µs each, where building one takes 43."""

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
    """Turn the placeholders in a text into those of `%` formatting."""
    text = text.replace("%", "%%")
    for mark, name in ((_SID, "sid"), (_FROM, "sender"), (_NUMBER, "number")):
        text = text.replace(mark, f"%({name})s")
    return text
