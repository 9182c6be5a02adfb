"""Send messages through Twilio's REST API, and classify the outcomes.

https://www.twilio.com/docs/messaging/api/message-resource#create-a-message-resource
"""

import json
import random
from collections.abc import Callable, Mapping
from dataclasses import replace
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Final
from urllib.parse import quote

from aiohttp import (
    BytesPayload,
    ClientConnectorError,
    ClientHttpProxyError,
    ConnectionTimeoutError,
    InvalidURL,
    NonHttpUrlClientError,
)
from aiohttp.abc import AbstractStreamWriter
from yarl import URL

from offhook.clock import elapsed
from offhook.core.backoff import CAP, delay
from offhook.core.cost import Cost
from offhook.core.lifecycle import SendTrigger
from offhook.errors import CredentialsUnavailable
from offhook.http_session import (
    Response,
    StaleConnectionError,
    error_text,
    open_session,
    proxy_for,
    request,
    timeouts,
)
from offhook.ports import Logins
from offhook.settings import Settings
from offhook.stores.api import Draft, SendClaim, SendOutcome
from offhook.twilio.client import authorization
from offhook.twilio.error_codes import DAILY_LIMITS, meaning
from offhook.twilio.logins import SettingsLogin
from offhook.twilio.responses import code_of, cost_of, object_of, sid_of, status_of, text_of

# Seconds. Without a connection after 5 s, the send can be repeated without a risk. The timeout for
# the answer is Twilio's own for webhooks: one that is not read makes a send unknown. All of it ends
# before the lease of a send (30 s), so that its outcome can still be recorded.
TIMEOUT: Final = timeouts(connect=5.0, read=15.0, total=28.0)

MAX_CONNECTIONS: Final = 50
"""Requests to Twilio at once from one process; its REST API answers 429 (error 20429) to an account
with too many."""

# Seconds for idle connections: one that Twilio closes just as it is used again makes that send
# unknown.
_KEEP: Final = 5.0

# With the backoff's 150-300 s a try this is about 10 hours, the longest that Twilio keeps a message
# in its own queue: https://www.twilio.com/docs/api/errors/30036
MAX_TRIES: Final = 160

# Seconds between two tries at most while a daily limit lasts, less jitter: all take 60 hours.
_DAILY_CAP: Final = 1800.0

FORM: Final = "application/x-www-form-urlencoded"

# Twilio's codes for messages start here; lower ones concern the account and the credentials:
# https://www.twilio.com/docs/api/errors
FIRST_MESSAGING_CODE: Final = 21_000

_NO_QUERY: Final = URL("http://form")
_OK: Final = range(200, 300)
_REFUSALS: Final = range(300, 500)
_NOT_CONNECTED: Final = (
    ClientConnectorError,  # its name, its address, or TLS with it; or with the proxy
    ClientHttpProxyError,  # the proxy refused the connection to Twilio
    ConnectionTimeoutError,
    InvalidURL,
    NonHttpUrlClientError,
    StaleConnectionError,
)


class TwilioSender:
    """Implements `worker.sending.Sender` with Twilio's REST API.

    Args:
        settings: `twilio_api` and the account's credentials.
        logins: of all accounts; None for the settings'.
        status_callback: makes the URL for the status callbacks of a send, from the ledger's id of
            it and the account that sends it; None for no callbacks.
        jitter: draws from [0, 1).
    """

    def __init__(
        self,
        settings: Settings,
        logins: Logins | None = None,
        *,
        status_callback: Callable[[int, str], str] | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:
        self._base = settings.twilio_api
        self._logins = logins or SettingsLogin(settings)
        self._status_callback = status_callback
        self._jitter = jitter
        self._session = open_session(
            TIMEOUT,
            keep=_KEEP,
            most=MAX_CONNECTIONS,
            proxy=proxy_for(settings.twilio_api),
            headers={"Accept": "application/json"},
        )

    async def send(self, claim: SendClaim) -> SendOutcome:
        """Ask Twilio once to send a message; return the outcome, as far as it is known.

        Raises nothing. POSTPONE, until `MAX_TRIES`: no connection, a 429, or credentials that are
        refused or not to be had, so nothing was sent; the pauses are longer while a daily limit
        lasts. REFUSE: any other 3xx or 4xx. LOSE: no answer, half an answer or a 5xx, for Twilio
        may have the message.
        """
        outcome = await self._send(claim)
        if outcome.trigger is SendTrigger.LOSE:  # it may turn out to have been sent
            return replace(outcome, cost=_cost(claim.draft))
        return outcome

    async def _send(self, claim: SendClaim) -> SendOutcome:
        account = claim.draft.account_sid
        try:
            url, form = self._url(claim), self._form(claim)
            headers = authorization(await self._logins.login(account))
        except CredentialsUnavailable as error:
            text = f"the credentials of {account} can't be had at present: {error}"
            return self._postponed(claim.tries, text)
        except Exception as error:  # noqa: BLE001 - the contract: raises nothing
            return SendOutcome(SendTrigger.REFUSE, error=f"cannot be sent: {error_text(error)}")
        try:
            response = await request(self._session, "POST", url, data=form, headers=headers)
        except Exception as error:  # noqa: BLE001 - the request may have been sent
            return self._failed(claim, form, error)
        return self._outcome(claim, response)

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    def _url(self, claim: SendClaim) -> URL:
        account = quote(claim.draft.account_sid, safe="")
        return URL(f"{self._base}/2010-04-01/Accounts/{account}/Messages.json", encoded=True)

    def _form(self, claim: SendClaim) -> "_Form":
        # A form is a query, and yarl encodes one in a quarter of the time that urlencode takes.
        fields = _NO_QUERY.with_query(_fields(claim.draft, self._callback(claim)))
        return _Form(fields.raw_query_string.encode(), claim.leaves_by)

    def _callback(self, claim: SendClaim) -> str:
        if self._status_callback is None:
            return ""
        return self._status_callback(claim.id, claim.draft.account_sid)

    def _failed(self, claim: SendClaim, form: "_Form", error: Exception) -> SendOutcome:
        """Return the outcome of a request without an answer."""
        if form.is_late and not isinstance(error, _NOT_CONNECTED):
            text = "this process was suspended for too long"
            return SendOutcome(SendTrigger.POSTPONE, error=text)
        # Without a beginning, a proxy broke off before there was a tunnel.
        if isinstance(error, _NOT_CONNECTED) or not form.has_begun:
            return self._postponed(claim.tries, f"Twilio was not reached: {error_text(error)}")
        return SendOutcome(SendTrigger.LOSE, error=f"no answer was read: {error_text(error)}")

    def _outcome(self, claim: SendClaim, response: Response) -> SendOutcome:
        status, answer = response.status, object_of(response.content)
        sid, code = sid_of(answer), code_of(answer)
        error = meaning(code, text_of(answer, "message")) or f"Twilio answered {status}"
        if status in _OK and sid:
            cost = _cost(claim.draft, answer)
            return SendOutcome(SendTrigger.ACCEPT, sid=sid, status=status_of(answer), cost=cost)
        if status == HTTPStatus.TOO_MANY_REQUESTS:
            return self._postponed(claim.tries, error, code, _retry_after(response.headers))
        if _concerns_credentials(status, code):
            self._logins.refused(claim.draft.account_sid)
            return self._postponed(claim.tries, f"{error} ({claim.draft.account_sid})", code)
        if status in _OK:
            return SendOutcome(SendTrigger.LOSE, error=f"Twilio's answer {status} was not readable")
        if status in _REFUSALS:
            return SendOutcome(SendTrigger.REFUSE, error_code=code, error=error)
        return SendOutcome(SendTrigger.LOSE, error_code=code, error=error)

    def _postponed(
        self, tries: int, error: str, code: str = "", after: float | None = None
    ) -> SendOutcome:
        if tries >= MAX_TRIES:
            given_up = f"given up after {tries} tries: {error}"
            return SendOutcome(SendTrigger.REFUSE, error_code=code, error=given_up)
        wait = delay(tries, self._jitter()) if after is None else after + self._jitter()
        if code in DAILY_LIMITS:
            wait = max(wait, delay(tries, self._jitter(), cap=_DAILY_CAP))
        return SendOutcome(SendTrigger.POSTPONE, error_code=code, error=error, delay=wait)


class _Form(BytesPayload):
    """A form that is sent by a time, or not at all.

    It is written, in one piece with the head, once there is a connection: getting one takes up to
    five seconds, and a stopped process any time.

    Attributes:
        is_late: whether it was too late; neither head nor form was sent.
        has_begun: whether some of it may have been sent.
    """

    def __init__(self, form: bytes, leaves_by: float) -> None:
        super().__init__(form, content_type=FORM)
        self.is_late = False
        self.has_begun = False
        self._leaves_by = leaves_by

    async def write_with_length(
        self, writer: AbstractStreamWriter, content_length: int | None
    ) -> None:
        if elapsed() >= self._leaves_by:
            self.is_late = True
            raise TimeoutError
        self.has_begun = True
        await super().write_with_length(writer, content_length)


def _fields(draft: Draft, status_callback: str) -> list[tuple[str, str]]:
    sender = "MessagingServiceSid" if draft.sender.startswith("MG") else "From"
    variables = json.dumps(dict(draft.content_variables)) if draft.content_variables else ""
    # A template goes without them: https://www.twilio.com/docs/api/errors/63016
    body, media = ("", ()) if draft.content_sid else (draft.body, draft.media)
    fields = [
        ("To", draft.to),
        (sender, draft.sender),
        ("Body", body),
        *(("MediaUrl", url) for url in media),
        ("ContentSid", draft.content_sid),
        ("ContentVariables", variables),
        ("StatusCallback", status_callback),
    ]
    return [(name, value) for name, value in fields if value]


def _cost(draft: Draft, answer: Mapping[str, Any] = MappingProxyType({})) -> Cost:
    is_plain = not (draft.media or draft.content_sid)
    return cost_of(answer, draft.body, to=draft.to, is_plain=is_plain)


def _concerns_credentials(status: int, code: str) -> bool:
    if status == HTTPStatus.UNAUTHORIZED:
        return True
    return status == HTTPStatus.FORBIDDEN and int(code or 0) < FIRST_MESSAGING_CODE


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Return the seconds that Twilio asks us to wait, at most the backoff's longest."""
    text = headers.get("Retry-After", "")
    return min(float(text[:9]), CAP) if text.isascii() and text.isdigit() else None
