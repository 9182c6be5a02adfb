"""Post alerts to a URL, signed, with retries."""

import asyncio
import hashlib
import hmac
import json
import secrets
import socket
import time
from collections.abc import Mapping
from typing import Final

from aiohttp import ClientSession

from offhook.alerts.evaluation import AlertChange
from offhook.events import Incident, Observer, Topic
from offhook.http_session import open_session, request, timeouts

SIGNATURE_HEADER: Final = "X-Offhook-Signature"

PAUSES: Final = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Seconds after each failed attempt but the last."""

_QUEUED: Final = 1000  # the oldest changes are dropped
_TIMEOUT: Final = timeouts(connect=10.0, read=10.0, total=10.0)  # per attempt


class AlertWebhook:
    """Posts changes in order.

    Args:
        url: to post to.
        secret: the key of the signature.
        observer: called with failed deliveries, and with the next success.
        pauses: see `PAUSES`.
    """

    def __init__(
        self, url: str, secret: str, observer: Observer, *, pauses: tuple[float, ...] = PAUSES
    ) -> None:
        self._url = url
        self._secret = secret.encode()
        self._pauses = pauses
        self._changes: asyncio.Queue[AlertChange] = asyncio.Queue(_QUEUED)
        self._incident = Incident(observer, Topic.ALERT_WEBHOOK)

    def __call__(self, change: AlertChange) -> None:
        """Queue a change; the oldest is dropped when the queue is full."""
        if self._changes.full():
            self._changes.get_nowait()
        self._changes.put_nowait(change)

    async def run(self) -> None:
        """Post until cancelled."""
        # Not through a proxy of the environment's.
        async with open_session(_TIMEOUT) as session:
            while True:
                await self._deliver(session, await self._changes.get())

    async def _deliver(self, session: ClientSession, change: AlertChange) -> None:
        body = json.dumps(_payload(change)).encode()
        reason = ""
        for pause in (*self._pauses, None):
            reason = await self._post(session, body)
            if not reason:
                self._incident.end("alerts are delivered again")
                return
            if pause is not None:
                await asyncio.sleep(pause)
        self._incident.report(f"an alert could not be delivered to OFFHOOK_ALERT_WEBHOOK: {reason}")

    async def _post(self, session: ClientSession, body: bytes) -> str:
        """Post once; return why it failed, or an empty string."""
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(self._secret, body, int(time.time())),
        }
        try:
            # Only the status is used, and a body may never end.
            response = await request(session, "POST", self._url, most=0, data=body, headers=headers)
        except Exception as error:  # noqa: BLE001 - an alert must not stop the process
            return type(error).__name__  # its text may show the URL, which may hold a token
        return "" if response.is_success else f"it answered {response.status}"


def signature(secret: bytes, body: bytes, at: int) -> str:
    """Return the header's value: `t=1764014400,v1=...`, an HMAC-SHA256 of time and body.

    The time lets a receiver refuse replayed requests.
    """
    mac = hmac.digest(secret, f"{at}.".encode() + body, hashlib.sha256).hex()
    return f"t={at},v1={mac}"


def _payload(change: AlertChange) -> Mapping[str, object]:
    alert = change.alert
    return {
        "id": secrets.token_hex(8),  # the same in each attempt
        "stage": change.stage,
        "name": alert.name,
        "level": alert.level,
        "value": alert.value,
        "text": alert.text,
        "remedy": alert.remedy,
        "since": alert.since,
        "machine": socket.gethostname(),
    }
