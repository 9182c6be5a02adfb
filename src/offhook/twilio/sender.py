"""Send messages through Twilio's REST API, and classify the outcomes.

https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
"""

import asyncio
import json
import random
from collections.abc import AsyncIterator, Callable
from typing import Final
from urllib.parse import quote, urlencode

import httpx2

from offhook.clock import elapsed
from offhook.core.backoff import CAP, delay
from offhook.core.lifecycle import SendTrigger
from offhook.settings import Settings
from offhook.stores.api import Draft, SendClaim, SendOutcome
from offhook.twilio.client import credentials, is_elsewhere, is_encrypted
from offhook.twilio.client_pool import Clients
from offhook.twilio.error_codes import meaning
from offhook.twilio.responses import (
    IDENTITY,
    bounded,
    code_of,
    error_text,
    object_of,
    sid_of,
    status_of,
    text_of,
)
from offhook.twilio.tls import tls_context

# Seconds. Without a connection after 5 s, the send can be repeated without a risk. The timeout for
# the answer is Twilio's own for webhooks: a read that times out makes a send unknown.
TIMEOUT: Final = httpx2.Timeout(connect=5.0, read=15.0, write=5.0, pool=5.0)

# The read timeout is between packets, so an answer that comes byte by byte never meets it. Below
# the lease of a send (30 s), so that its outcome can still be recorded.
TOTAL: Final = 28.0

# Of each client: more than a worker keeps busy at ~50 ms a request. Idle connections are closed
# after 5 s: one that Twilio closes just as it is reused makes that send unknown.
LIMITS: Final = httpx2.Limits(
    max_connections=100, max_keepalive_connections=8, keepalive_expiry=5.0
)

# With the backoff's 150-300 s a try this is about 10 hours, the longest that Twilio keeps a message
# in its own queue: https://www.twilio.com/docs/api/errors/30036
MAX_TRIES: Final = 160

FORM: Final = "application/x-www-form-urlencoded"

# Twilio's codes for messages start here; lower ones concern the account and the credentials:
# https://www.twilio.com/docs/api/errors
FIRST_MESSAGING_CODE: Final = 21_000

_OK: Final = range(200, 300)
_CLIENT_ERROR: Final = range(400, 500)
_NOT_CONNECTED: Final = (
    httpx2.ConnectError,
    httpx2.ConnectTimeout,
    httpx2.PoolTimeout,
    httpx2.ProxyError,  # the proxy refused the connection to Twilio
    httpx2.UnsupportedProtocol,
)


class _TooLateError(Exception):
    """Another worker may have claimed the send by now; no complete request was sent."""


class TwilioSender:
    """Implements `worker.sending.Sender` with Twilio's REST API.

    Args:
        settings: `twilio_api` and the account's credentials.
        status_callback: makes the URL for the status callbacks of a send, from the ledger's id of
            it and the account that sends it; None for no callbacks.
        jitter: draws from [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        *,
        status_callback: Callable[[int, str], str] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base = settings.twilio_api
        self._status_callback = status_callback
        self._jitter = jitter
        elsewhere = is_elsewhere(settings.twilio_api)
        trusted = tls_context(encrypted=is_encrypted(settings.twilio_api), trust_env=elsewhere)
        self._clients = Clients(
            lambda: httpx2.AsyncClient(
                auth=credentials(settings),
                verify=trusted,
                timeout=TIMEOUT,
                limits=LIMITS,
                follow_redirects=False,
                headers=IDENTITY,
                event_hooks=bounded(),
                trust_env=elsewhere,
            )
        )

    async def send(self, claim: SendClaim) -> SendOutcome:
        """Ask Twilio once to send a message; return the outcome, as far as it is known.

        Raises nothing. POSTPONE, until `MAX_TRIES`: no connection, a 429, or refused credentials,
        with which nothing was sent. REFUSE: any other 3xx or 4xx. LOSE: no answer, half an answer
        or a 5xx, for Twilio may have the message.
        """
        with self._clients.least_busy() as client:
            return await self._send(client, claim)

    async def close(self) -> None:
        """Close the connections."""
        await self._clients.close()

    async def _send(self, client: httpx2.AsyncClient, claim: SendClaim) -> SendOutcome:
        try:
            request = self._request(client, claim)
        except Exception as error:  # noqa: BLE001 - the contract: raises nothing
            return SendOutcome(SendTrigger.REFUSE, error=f"cannot be sent: {error_text(error)}")
        try:
            async with asyncio.timeout(TOTAL):
                response = await client.send(request)
        except _TooLateError:
            return SendOutcome(
                SendTrigger.POSTPONE, error="this process was suspended for too long"
            )
        except _NOT_CONNECTED as error:
            return self._postponed(claim.tries, f"Twilio was not reached: {error_text(error)}")
        except Exception as error:  # noqa: BLE001 - the request may have been sent
            return SendOutcome(SendTrigger.LOSE, error=f"no answer was read: {error_text(error)}")
        return self._outcome(claim.tries, response)

    def _request(self, client: httpx2.AsyncClient, claim: SendClaim) -> httpx2.Request:
        account = quote(claim.draft.account_sid, safe="")
        form = urlencode(_fields(claim.draft, self._callback(claim))).encode()
        return client.build_request(
            "POST",
            f"{self._base}/2010-04-01/Accounts/{account}/Messages.json",
            content=_in_time(form, claim.leaves_by),
            headers={
                "Content-Type": FORM,
                "Accept": "application/json",
                "Content-Length": str(len(form)),
            },
        )

    def _callback(self, claim: SendClaim) -> str:
        if self._status_callback is None:
            return ""
        return self._status_callback(claim.id, claim.draft.account_sid)

    def _outcome(self, tries: int, response: httpx2.Response) -> SendOutcome:
        status, answer = response.status_code, object_of(response)
        sid, code = sid_of(answer), code_of(answer)
        error = meaning(code, text_of(answer, "message")) or f"Twilio answered {status}"
        if status in _OK and sid:
            return SendOutcome(SendTrigger.ACCEPT, sid=sid, status=status_of(answer))
        if status == httpx2.codes.TOO_MANY_REQUESTS:
            return self._postponed(tries, error, code, _retry_after(response))
        if _concerns_credentials(status, code):
            return self._postponed(tries, error, code)
        if status in _OK:
            return SendOutcome(SendTrigger.LOSE, error=f"Twilio's answer {status} was not readable")
        if status in _CLIENT_ERROR or response.is_redirect:
            return SendOutcome(SendTrigger.REFUSE, error_code=code, error=error)
        return SendOutcome(SendTrigger.LOSE, error_code=code, error=error)

    def _postponed(
        self, tries: int, error: str, code: str = "", after: float | None = None
    ) -> SendOutcome:
        if tries >= MAX_TRIES:
            given_up = f"given up after {tries} tries: {error}"
            return SendOutcome(SendTrigger.REFUSE, error_code=code, error=given_up)
        wait = delay(tries, self._jitter()) if after is None else after + self._jitter()
        return SendOutcome(SendTrigger.POSTPONE, error_code=code, error=error, delay=wait)


async def _in_time(form: bytes, leaves_by: float) -> AsyncIterator[bytes]:
    """Yield the body, unless it is too late to send it.

    It is read once the headers are sent: getting a connection takes up to ten seconds, and a
    stopped process any time.
    """
    if elapsed() >= leaves_by:
        raise _TooLateError
    yield form


def _fields(draft: Draft, status_callback: str) -> list[tuple[str, str]]:
    sender = "MessagingServiceSid" if draft.sender.startswith("MG") else "From"
    variables = json.dumps(dict(draft.content_variables)) if draft.content_variables else ""
    fields = [
        ("To", draft.to),
        (sender, draft.sender),
        ("Body", draft.body),
        *(("MediaUrl", url) for url in draft.media),
        ("ContentSid", draft.content_sid),
        ("ContentVariables", variables),
        ("StatusCallback", status_callback),
    ]
    return [(name, value) for name, value in fields if value]


def _concerns_credentials(status: int, code: str) -> bool:
    if status == httpx2.codes.UNAUTHORIZED:
        return True
    return status == httpx2.codes.FORBIDDEN and int(code or 0) < FIRST_MESSAGING_CODE


def _retry_after(response: httpx2.Response) -> float | None:
    """Return the seconds that Twilio asks us to wait, at most the backoff's longest."""
    text = response.headers.get("Retry-After", "")
    return min(float(text[:9]), CAP) if text.isascii() and text.isdigit() else None
