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

import httpx2

from offhook.alerts.evaluation import AlertChange
from offhook.events import Incident, Observer, Topic

SIGNATURE_HEADER: Final = "X-Offhook-Signature"

PAUSES: Final = (1.0, 4.0, 16.0, 64.0, 256.0)
"""Seconds after each failed attempt but the last."""

_QUEUED: Final = 1000  # the oldest changes are dropped
_TIMEOUT: Final = 10.0  # seconds per attempt


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
        # Neither through a proxy from the environment nor following redirects.
        async with httpx2.AsyncClient(timeout=_TIMEOUT, trust_env=False) as client:
            while True:
                await self._deliver(client, await self._changes.get())

    async def _deliver(self, client: httpx2.AsyncClient, change: AlertChange) -> None:
        body = json.dumps(_payload(change)).encode()
        reason = ""
        for pause in (*self._pauses, None):
            reason = await self._post(client, body)
            if not reason:
                self._incident.end("alerts are delivered again")
                return
            if pause is not None:
                await asyncio.sleep(pause)
        self._incident.report(f"an alert could not be delivered to OFFHOOK_ALERT_WEBHOOK: {reason}")

    async def _post(self, client: httpx2.AsyncClient, body: bytes) -> str:
        """Post once; return why it failed, or an empty string."""
        headers = {
            "Content-Type": "application/json",
            SIGNATURE_HEADER: signature(self._secret, body, int(time.time())),
        }
        try:
            # Only the status is used, and a body may never end.
            async with (
                asyncio.timeout(_TIMEOUT),
                client.stream("POST", self._url, content=body, headers=headers) as response,
            ):
                pass
        except Exception as error:  # noqa: BLE001 - an alert must not stop the process
            return type(error).__name__  # its text may show the URL, which may hold a token
        return "" if response.is_success else f"it answered {response.status_code}"


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
