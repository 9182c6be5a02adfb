"""Defer requests that can't be verified yet: store them as they came, for a worker to verify."""

import base64
import math
import time
from collections.abc import Callable
from contextlib import suppress
from hashlib import blake2b
from typing import Final
from urllib.parse import urlencode

from offhook.core.forms import decode_form
from offhook.core.inbound import Inbound
from offhook.core.keys import KEY_BYTES, Kind, lane_of
from offhook.core.messages import message_sid
from offhook.core.requests import Request
from offhook.errors import BacklogFull, StoreUnavailable
from offhook.stores.api import Append, Entrance

DEFERRED_LIMIT: Final = 10_000
"""Live messages in the store beyond which nothing is deferred: forgeries could fill it."""

DEFERRED_RATE: Final = 10.0
"""Requests a second that a process defers in the long run, after the first 10,000.

A discarded request leaves a row and a key behind, so a worker that keeps up is no limit by itself.
"""

_COUNT_EVERY: Final = 1.0  # seconds
_MAX_NAME: Final = 64  # characters of an address or a SID that is only claimed

# Names that no parameter of Twilio's has, so that a deferred request can't be read as a message.
_KIND, _METHOD, _BASE, _PATH, _QUERY = "kind", "method", "base", "path", "query"
_CONTENT_TYPE, _SIGNATURE, _BODY = "content_type", "signature", "body"


def defer(request: Request, account_sid: str) -> Inbound:
    """Return what to store of a request that can't be verified yet.

    Its key is of the whole request: a forged one must not take the key of a genuine message,
    which it gets only when it is verified. Its lane is that of its conversation among the
    deferred, so that they are verified in order, and hold up nothing else.

    Args:
        request: as it came.
        account_sid: of the account that it claims to be for.
    """
    raw = request.form().first
    lane = lane_of(request.kind, {**raw, "AccountSid": account_sid})
    return Inbound(
        kind=Kind.DEFERRED,
        key=request.fingerprint(b"", f"{Kind.DEFERRED} {request.kind}")[:KEY_BYTES],
        # Hashed, since a claim may be of any length.
        lane=f"{Kind.DEFERRED}|{blake2b(lane.encode(), digest_size=KEY_BYTES).hexdigest()}",
        account_sid=account_sid,
        sid=_name(message_sid(raw)),
        sender=_name(raw.get("From", "")),
        recipient=_name(raw.get("To", "")),
        form=_write(request),
    )


def restore(form: bytes) -> Request:
    """Return the request that `defer` has written.

    Raises:
        ValueError: the form is none of those.
    """
    fields = decode_form(form).first
    return Request(
        kind=Kind(fields[_KIND]),
        method=fields[_METHOD],
        base=_text(fields[_BASE]),
        path=_text(fields[_PATH]),
        query=_bytes(fields[_QUERY]),
        content_type=_text(fields[_CONTENT_TYPE]) if _CONTENT_TYPE in fields else None,
        signature=_text(fields[_SIGNATURE]),
        body=_bytes(fields[_BODY]),
        started=0.0,
    )


class DeferralLimit:
    """Admits requests that can't be verified yet to a store, as long as there is room.

    10,000 of them at first and 10 a second in the long run, and none while the store has 10,000
    live messages.

    Args:
        append: stores them.
        queue: where they go, to be counted.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, append: Append, queue: Entrance, *, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._append = append
        self._queue = queue
        self._clock = clock
        self._room = DEFERRED_LIMIT
        self._next_count = -math.inf
        self._allowance = float(DEFERRED_LIMIT)
        self._earned_at = clock()

    async def admit(self, inbound: Inbound) -> bool:
        """Store a request, if there is room. See `api.Append`."""
        now = self._clock()
        if now >= self._next_count:
            self._next_count = now + _COUNT_EVERY
            # While the store is unavailable the room stays as it was.
            with suppress(StoreUnavailable):
                self._room = DEFERRED_LIMIT - await self._queue.backlog(DEFERRED_LIMIT)
        self._earn(now)
        if self._room <= 0:
            raise BacklogFull(f"{DEFERRED_LIMIT} messages wait: no more can be deferred")
        if self._allowance < 1.0:
            raise BacklogFull("too many requests have been deferred of late")
        self._room -= 1
        self._allowance -= 1.0
        return await self._append(inbound)

    def _earn(self, now: float) -> None:
        earned = max(0.0, now - self._earned_at) * DEFERRED_RATE
        self._allowance = min(float(DEFERRED_LIMIT), self._allowance + earned)
        self._earned_at = max(now, self._earned_at)


def _name(claimed: str) -> str:
    return claimed if len(claimed) <= _MAX_NAME else ""


def _write(request: Request) -> bytes:
    """Return a request as a form, which is what stores keep; bytes are in Base64."""
    fields = {
        _KIND: request.kind.value,
        _METHOD: request.method,
        _BASE: _base64(request.base),
        _PATH: _base64(request.path),
        _QUERY: _base64(request.query),
        _SIGNATURE: _base64(request.signature),
        _BODY: _base64(request.body),
    }
    if request.content_type is not None:
        fields[_CONTENT_TYPE] = _base64(request.content_type)
    return urlencode(fields).encode()


def _base64(value: str | bytes) -> str:
    data = value.encode("utf-8", "surrogatepass") if isinstance(value, str) else value
    return base64.urlsafe_b64encode(data).decode()


def _bytes(value: str) -> bytes:
    return base64.urlsafe_b64decode(value)


def _text(value: str) -> str:
    return _bytes(value).decode("utf-8", "surrogatepass")
