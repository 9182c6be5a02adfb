"""Requests nobody has written: captured ones, changed at random in their fields and their bytes.

Shot n of a seed is the same in every run, whatever was fired before it.
"""

import random
import string
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final
from urllib.parse import unquote, urlencode

from offhook.core.messages import Attachment, Button, Location, message_sid
from offhook.core.signature import sign
from offhook.twilio.simulator.payloads import HEADERS, INBOUND_TYPE, STATUS_TYPE, Text
from offhook.twilio.simulator.payloads import inbound as inbound_fields
from offhook.twilio.simulator.payloads import status as status_fields
from testing.webhooks import ACCOUNT, PUBLIC, TOKEN

TENANT: Final = "AC" + "7" * 32
MESSAGES, STATUS = "/twilio/messages", "/twilio/status"

Fields = Sequence[tuple[str, str]]
Header = tuple[bytes, bytes]

# What has meant something to somebody's parser.
_TOKENS: Final = (
    b"%", b"%0", b"%00", b"%zz", b"%ED%A0%80", b"%C0%80", b"%F0%9F%91%8D", b"%25", b"%26", b"%3D",
    b"&", b"=", b"+", b"&&", b"=&=", b";", b"\0", b"\r\n", b"\r\n\r\n", b"\xff", b"\xed\xa0\x80",
    b"\xef\xbb\xbf", b"&a=1" * 1_100, b"a" * 5_000, b"MessageSid=", b"AccountSid=", b"AccountSid="
    + TENANT.encode(), b"Body=", b"OptOutType=STOP", b"bodySHA256=", b"send=1",
    b"send=" + b"9" * 40,
    b"../", b"//", b"?", b"#", b"@", b"[", b"::1", b"{}", b"[]", b"null", b"'", b'"', b"<",
)  # fmt: skip
_TEXTS: Final = (
    "", " ", "\0", "\x7f", "\ufeff", "\u202e", "é", "\U0001f468\u200d\U0001f469", "\u017f",
    "'; DROP TABLE messages", "x" * 5_000, "SM" + "3" * 32 + "x", "AC" + "3" * 32 + "From", "STOP",
    "stop\u0130", "-1", "1e999",
    "9" * 400, "+" + "1" * 300, "whatsapp:", ":", "|", "a|b|c", "%00", "&=", "\r\nX-Twilio: 1",
    "delivered", "failed", "30003", "30003Error", "true", "[]", '{"a":', "https://[::1",
    "MG" + "0" * 32,
)  # fmt: skip
_HEADERS: Final[Sequence[Header]] = (
    (b"content-length", b"-1"), (b"content-length", b"99999999999999999999"),
    (b"content-length", b"1_0"), (b"content-length", b"\xb2"), (b"content-length", b"0"),
    (b"content-type", b"application/json"), (b"content-type", b"multipart/form-data; boundary=x"),
    (b"content-type", b"application/x-www-form-urlencoded; charset=utf-16"), (b"content-type", b""),
    (b"content-type", b"\xff\xfe"), (b"x-twilio-signature", b""),
    (b"x-twilio-signature", b"\xff" * 28), (b"x-twilio-signature", b"A" * 27 + b"="),
    (b"x-twilio-signature", b"A" * 60_000), (b"x-forwarded-proto", b"gopher"),
    (b"x-forwarded-host", b"[::1"), (b"x-forwarded-host", b"a:99999999"), (b"host", b""),
    (b"host", b"\xe9"), (b"host", b"a@b/c?d#e"), (b"x-forwarded-prefix", b"\xff/.."),
    (b"transfer-encoding", b"chunked"), (b"transfer-encoding", b"gzip"), (b"upgrade", b"websocket"),
    (b"connection", b"upgrade"), (b"connection", b"close"), (b"expect", b"100-continue"),
    (b"", b""), (b"a b", b"c"), (b"a" * 300, b"b" * 3_000),
)  # fmt: skip
_METHODS: Final = (b"GET", b"POST", b"HEAD", b"PUT", b"OPTIONS", b"DELETE", b"CONNECT", b"TRACE")
_PATHS: Final = (
    b"/",
    b"",
    b"*",
    b"/healthz",
    b"/readyz",
    b"/twilio/messages/",
    b"/%00",
    b"//",
    b"/\xff",
)


@dataclass(frozen=True, slots=True)
class Shot:
    """A request.

    Attributes:
        sid: the MessageSid that was signed.
        intact: whether it goes out as it was signed.
    """

    method: bytes
    path: bytes
    query: bytes
    headers: tuple[Header, ...]
    body: bytes
    sid: str = ""
    intact: bool = False

    def wire(self) -> bytes:
        """Return what goes over a socket; with a Content-Length, unless a mutation has its own."""
        target = self.path + (b"?" + self.query if self.query else b"")
        names = {name for name, _ in self.headers}
        own = () if b"content-length" in names else ((b"content-length", b"%d" % len(self.body)),)
        lines = [self.method + b" " + target + b" HTTP/1.1"]
        lines += [name + b": " + value for name, value in (*self.headers, *own)]
        return b"\r\n".join([*lines, b"", self.body])

    def scope(self, dice: random.Random) -> dict[str, Any]:
        """Return what a server makes of it, as far as a server would let it through."""
        raw = self.path.decode("ascii", "ignore").encode()
        length = ((b"content-length", b"%d" % len(self.body)),)
        scope: dict[str, Any] = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": self.method.decode("latin-1"),
            "scheme": dice.choice(("http", "https")),
            "path": unquote(raw.decode()),
            "query_string": self.query,
            "root_path": "",
            "headers": [*(length if dice.random() < 0.9 else ()), *self.headers],
            "client": dice.choice((("203.0.113.9", 4), ("::1", 4), ("", 0), None)),
            "server": ("127.0.0.1", 80),
        }
        return scope if dice.random() < 0.1 else {**scope, "raw_path": raw}


class Gun:
    """Makes shots.

    Args:
        seed: of all of them.
        tenants: sign some of them for another account, with its token.
    """

    def __init__(self, seed: int, tenants: Mapping[str, str] | None = None) -> None:
        self._seed = seed
        self._tokens = {ACCOUNT: TOKEN, **(tenants or {})}

    def dice(self, number: int) -> random.Random:
        """Return the randomness of a shot's way, apart from that of the shot."""
        return random.Random(f"{self._seed}:{number}:way")

    def shot(self, number: int) -> Shot:
        """Return one shot: of twenty, one genuine, three odd but signed, the rest changed after."""
        dice = random.Random(f"{self._seed}:{number}")
        kind = dice.random()
        fields = _captured(dice, dice.choice((*self._tokens,)))
        if kind < 0.2 and kind > 0.05:
            fields = _odd(dice, fields)
        shot = self._signed(dice, fields)
        if kind < 0.2:
            return replace(shot, intact=True)
        for _ in range(dice.randint(1, 4)):
            shot = dice.choice(_CHANGES)(dice, shot)
        return shot

    def _signed(self, dice: random.Random, fields: Fields) -> Shot:
        is_status = any(name == "MessageStatus" for name, _ in fields)
        path, kind = (STATUS, STATUS_TYPE) if is_status else (MESSAGES, INBOUND_TYPE)
        given = dict(reversed(fields))
        token = self._tokens.get(given.get("AccountSid", ""), TOKEN)
        encoded = urlencode(fields, errors="replace")
        headers = {**HEADERS, "Content-Type": kind, "Host": "bot.example.com"}
        get = not is_status and dice.random() < 0.2
        query = encoded if get else dice.choice(("", "", "send=7"))
        url = PUBLIC + path + (f"?{query}" if query else "")
        read = [(n, v.encode("utf-8", "replace").decode()) for n, v in fields]
        headers["X-Twilio-Signature"] = sign(url=url, params=() if get else read, auth_token=token)
        return Shot(
            b"GET" if get else b"POST",
            path.encode(),
            query.encode(),
            tuple((name.lower().encode(), value.encode()) for name, value in headers.items()),
            b"" if get else encoded.encode(),
            message_sid(given),
        )


PICTURE = Attachment("https://api.twilio.com/a.jpg", "image/jpeg")


def _captured(dice: random.Random, account: str) -> Fields:
    sid = f"{dice.choice(('SM', 'MM'))}{dice.getrandbits(128):032x}"
    person = f"+1555{dice.randrange(50):07d}"
    channel = dice.choice(("", "", "whatsapp:"))
    if dice.random() < 0.25:
        state = dice.choice(("sent", "delivered", "undelivered", "read", "failed"))
        return status_fields(
            sid=sid, account_sid=account, from_=channel + "+15005550006", to=channel + person,
            status=state, error_code=dice.choice(("", "30003")), when="2511241200",
        )  # fmt: skip
    text = Text(
        sid, account, channel + person, channel + "+15005550006",
        body="".join(dice.choices(string.printable + "äß€\U0001f600", k=dice.randrange(60))),
        media=[PICTURE] * dice.choice((0, 0, 1, 3)),
        button=dice.choice((None, Button("Yes", "y"))) if channel else None,
        location=dice.choice((None, Location(1.5, -2.5))) if channel else None,
        profile_name="Ann",
    )  # fmt: skip
    return inbound_fields(text)


def _odd(dice: random.Random, fields: Fields) -> Fields:
    """Change fields before they are signed: what nobody but Twilio could send."""
    changed = list(fields)
    for _ in range(dice.randint(1, 3)):
        at = dice.randrange(len(changed))
        name, value = changed[at]
        match dice.randrange(5):
            case 0:
                changed[at] = (name, dice.choice(_TEXTS))
            case 1:
                changed[at] = (dice.choice(_TEXTS), value)
            case 2:
                changed.insert(at, (name, dice.choice(_TEXTS)))
            case 3 if len(changed) > 1:
                del changed[at]
            case _:
                dice.shuffle(changed)
    return changed


def _bytes(dice: random.Random, data: bytes) -> bytes:
    """Change bytes."""
    at, to = sorted((dice.randrange(len(data) + 1), dice.randrange(len(data) + 1)))
    to = min(to, at + 40)
    match dice.randrange(7):
        case 0:
            put = dice.choice(_TOKENS) + data[at:to]
        case 1:
            put = dice.choice(_TOKENS)
        case 2:
            put = b""
        case 3:
            put = data[at:to] * dice.randint(2, 20)
        case 4:
            put, to = b"", len(data)
        case 5:
            put = dice.randbytes(dice.randrange(9))
        case _:
            put = bytes(byte ^ 1 << dice.randrange(8) for byte in data[at : at + 1])
            to = at + len(put)
    return data[:at] + put + data[to:]


def _change_body(dice: random.Random, shot: Shot) -> Shot:
    if dice.random() < 0.02:  # about as large as a body may be
        return replace(shot, body=shot.body + b"a" * dice.randrange(64_000, 67_000))
    return replace(shot, body=_bytes(dice, shot.body))


def _change_query(dice: random.Random, shot: Shot) -> Shot:
    return replace(shot, query=_bytes(dice, shot.query))


def _change_path(dice: random.Random, shot: Shot) -> Shot:
    return replace(shot, path=dice.choice((*_PATHS, _bytes(dice, shot.path))))


def _change_method(dice: random.Random, shot: Shot) -> Shot:
    return replace(shot, method=dice.choice((*_METHODS, _bytes(dice, shot.method)[:20])))


def _change_headers(dice: random.Random, shot: Shot) -> Shot:
    headers = list(shot.headers)
    at = dice.randrange(len(headers)) if headers else 0
    match dice.randrange(5):
        case 0 | 1:
            headers.insert(at, dice.choice(_HEADERS))
        case 2 if headers:
            headers[at] = (headers[at][0], _bytes(dice, headers[at][1]))
        case 3 if headers:
            headers[at] = (_bytes(dice, headers[at][0]).lower(), headers[at][1])
        case _ if headers:
            del headers[at]
    return replace(shot, headers=tuple(headers))


_CHANGES: Final[Sequence[Callable[[random.Random, Shot], Shot]]] = (
    *(_change_body,) * 5, *(_change_query,) * 3, *(_change_headers,) * 3,
    _change_path, _change_method,
)  # fmt: skip
