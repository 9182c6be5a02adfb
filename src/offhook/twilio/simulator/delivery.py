"""Deliver webhooks: signed requests with Twilio's timeouts, retries and fallback.

https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides and
https://www.twilio.com/docs/usage/security/availability-reliability
"""

import asyncio
import time
from dataclasses import dataclass, field, replace
from typing import Final
from urllib.parse import urlencode

from aiohttp import (
    ClientConnectorError,
    ClientError,
    ClientPayloadError,
    ClientResponseError,
    ClientSession,
    ConnectionTimeoutError,
    ServerDisconnectedError,
)
from yarl import URL

from offhook.core.signature import sign
from offhook.core.urls import without_fragment
from offhook.http_session import MAX_BYTES, Response, open_session, request, timeouts
from offhook.twilio.simulator.connection_overrides import Overrides
from offhook.twilio.simulator.payloads import HEADERS, INBOUND_TYPE, Params

# The number at which Twilio gives up is not documented: https://www.twilio.com/docs/api/errors/11215
MAX_REDIRECTS: Final = 10

KEPT_OF_ANSWER: Final = 4096
"""Bytes of a response that a `Request` keeps: TwiML is short, error pages are long."""

_FOLLOWED: Final = frozenset({301, 302})
_CONNECTING: Final = (ClientConnectorError, ConnectionTimeoutError)
_GARBLED: Final = (
    ServerDisconnectedError,
    ClientResponseError,
    ClientPayloadError,
    ValueError,  # a redirect to what is no URL
)


@dataclass(frozen=True, slots=True)
class WebhookCall:
    """A webhook request to make.

    Attributes:
        url: with its connection overrides in the fragment.
        token: `I-Twilio-Idempotency-Token`, the same for all attempts.
        fallback_url: requested after `url` has failed, with `ErrorCode` and `ErrorUrl` added.
    """

    url: str
    params: Params = field(repr=False)
    token: str
    content_type: str = INBOUND_TYPE
    fallback_url: str = ""


@dataclass(frozen=True, slots=True)
class Request:
    """One HTTP request of a webhook, as sent.

    Attributes:
        headers: those specific to this request, including the signature.
        params: empty for a redirect, which Twilio follows without them.
        time: when it started, seconds since the epoch.
        status: the HTTP status; 0 without a response.
        body: the first 4 KiB of the response.
        seconds: until the response or the timeout.
    """

    method: str
    url: str
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    params: Params = field(repr=False)
    time: float
    status: int = 0
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class WebhookResponse:
    """How a webhook answered in the end.

    Attributes:
        status: the HTTP status; 0 when there was no answer.
        seconds: from the start of the last attempt to its end.
        attempts: all requests made, the fallback's included, redirects not counted.
        error: Twilio's error code, such as 11200; None when it was answered 2xx.
        failure: what a retry policy calls it: `ct`, `rt`, `4xx`, `5xx`; empty when answered 2xx.
        reason: how offhook names what it refused: its `X-Offhook-Error`, if there is one.
        requests: all that were made, redirects included, in their order.
    """

    status: int = 0
    content_type: str = ""
    body: bytes = field(default=b"", repr=False)
    seconds: float = 0.0
    attempts: int = 1
    error: int | None = None
    failure: str = ""
    reason: str = ""
    requests: tuple[Request, ...] = ()


class WebhookClient:
    """Requests webhooks over real connections, a new one each time, as Twilio does.

    It signs whatever it is asked to: what must not be signed is for its owner to refuse.

    Attributes:
        auth_token: signs; may be exchanged at any time.
    """

    def __init__(self, auth_token: str) -> None:
        self.auth_token = auth_token
        self._session: ClientSession | None = None

    async def request(self, call: WebhookCall) -> WebhookResponse:
        """Request a webhook until it responds, its retries are used up or its time has passed.

        Raises:
            ConfigurationError: the URL's connection overrides are invalid.
        """
        answer = await self._persist(call)
        if answer.error is None or not call.fallback_url:
            return answer
        error = (("ErrorCode", str(answer.error)), ("ErrorUrl", without_fragment(call.url)))
        fallback = replace(call, url=call.fallback_url, params=call.params + error)
        last = await self._persist(fallback)
        return replace(
            last,
            attempts=answer.attempts + last.attempts,
            requests=answer.requests + last.requests,
        )

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()

    async def _persist(self, call: WebhookCall) -> WebhookResponse:
        overrides = Overrides.parse(call.url)
        loop = asyncio.get_running_loop()
        deadline = loop.time() + overrides.total
        attempt = 1
        made: list[Request] = []
        while True:
            last = await self._attempt(call, overrides, deadline, made)
            answer = replace(last, attempts=attempt, requests=tuple(made))
            retried = answer.error is not None and overrides.retry_on(answer.failure)
            if not retried or attempt > overrides.retries or loop.time() >= deadline:
                return answer
            attempt += 1

    async def _attempt(
        self, call: WebhookCall, overrides: Overrides, deadline: float, made: list[Request]
    ) -> WebhookResponse:
        started = time.perf_counter()
        try:
            async with asyncio.timeout_at(deadline):
                answer = await self._exchange(call, overrides, made)
        except _CONNECTING:
            answer = WebhookResponse(error=11205, failure="ct")
        except TimeoutError:
            answer = WebhookResponse(error=11200, failure="rt")
        except _GARBLED:
            answer = WebhookResponse(error=11206, failure="protocol")
        except ClientError:
            answer = WebhookResponse(error=11205, failure="broken")
        return replace(answer, seconds=time.perf_counter() - started)

    async def _exchange(
        self, call: WebhookCall, overrides: Overrides, made: list[Request]
    ) -> WebhookResponse:
        url = URL(call.url)
        response = await self._send("POST", url, call, overrides, made)
        redirects = 0
        while response.status in _FOLLOWED and "Location" in response.headers:
            if redirects == MAX_REDIRECTS:
                return WebhookResponse(response.status, error=11215, failure="redirects")
            redirects += 1
            # Without the parameters, as Twilio does: redirects break webhooks.
            url = url.join(URL(response.headers["Location"]))
            response = await self._send("GET", url, call, overrides, made)
        return _answer(response)

    async def _send(
        self,
        method: str,
        url: URL,
        call: WebhookCall,
        overrides: Overrides,
        made: list[Request],
    ) -> Response:
        params = call.params if method == "POST" else ()
        # The signature covers the URL as the client normalizes it, without the fragment.
        headers = {
            "I-Twilio-Idempotency-Token": call.token,
            "X-Twilio-Signature": sign(url=str(url), params=params, auth_token=self.auth_token),
        }
        if method == "POST":
            headers["Content-Type"] = call.content_type
        target = without_fragment(str(url))
        record = Request(method, target, tuple(headers.items()), params, time.time())
        started = time.perf_counter()
        try:
            response = await request(
                self._opened(),
                method,
                url,
                most=MAX_BYTES + 1,
                data=urlencode(params) if method == "POST" else None,
                headers=headers,
                timeout=timeouts(connect=overrides.connect, read=overrides.read),
            )
            record = _answered(record, response)
        finally:
            made.append(replace(record, seconds=time.perf_counter() - started))
        return response

    def _opened(self) -> ClientSession:
        """Return the session, opened at first use: a simulator may be made without a loop."""
        if self._session is None:
            self._session = open_session(
                timeouts(connect=5.0, read=15.0), headers=HEADERS, compressed=True
            )
        return self._session


def _answered(made: Request, response: Response) -> Request:
    return replace(
        made,
        status=response.status,
        content_type=response.headers.get("Content-Type", ""),
        body=response.content[:KEPT_OF_ANSWER],
    )


def _answer(response: Response) -> WebhookResponse:
    status = response.status
    content_type = response.headers.get("Content-Type", "")
    if len(response.content) > MAX_BYTES:
        return WebhookResponse(status, content_type, error=11750, failure="too-long")
    if response.is_success:
        return WebhookResponse(status, content_type, response.content)
    return WebhookResponse(
        status,
        content_type,
        response.content,
        error=11200,
        failure=f"{status // 100}xx",
        reason=response.headers.get("X-Offhook-Error", ""),
    )
