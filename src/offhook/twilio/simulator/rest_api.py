"""The REST API of the simulated Twilio: creating, listing and fetching messages.

https://www.twilio.com/docs/messaging/api/message-resource
"""

import asyncio
import re
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final
from urllib.parse import urlsplit

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route
from starlette.types import Message, Receive, Scope, Send

from offhook.core.addresses import channel_of
from offhook.core.forms import Form
from offhook.core.messages import MAX_MEDIA
from offhook.core.segments import segmented
from offhook.core.texts import MAX_BODY, units
from offhook.core.urls import leads_somewhere
from offhook.twilio.simulator.addresses import is_brand, opted_out_as, unreachable
from offhook.twilio.simulator.connection_overrides import usable
from offhook.twilio.simulator.log import Outbound, RestCall, TypingShown
from offhook.twilio.simulator.message_list import selected
from offhook.twilio.simulator.messaging import Messaging
from offhook.twilio.simulator.paging import Page, listed
from offhook.twilio.simulator.payloads import API_VERSION
from offhook.twilio.simulator.rest_errors import (
    INTERNAL,
    NOT_FOUND,
    UNAUTHENTICATED,
    Authentication,
    RestError,
    form_of,
    user_of,
)

_MESSAGE_SID: Final = re.compile("(?:SM|MM)[0-9a-f]{32}")


class RestApi:
    """Serve the REST API, with its message resource.

    Args:
        messaging: accepts the messages.
        auth: authenticates requests.
        others: routes of further resources.
    """

    def __init__(
        self, messaging: Messaging, auth: Authentication, others: Sequence[Route] = ()
    ) -> None:
        self._messaging = messaging
        self._auth = auth
        messages = f"/{API_VERSION}/Accounts/{{account}}/Messages"
        self.app = Starlette(
            routes=[
                Route(f"{messages}.json", self._create, methods=["POST"]),
                Route(f"{messages}.json", self._list, methods=["GET"]),
                Route(f"{messages}/{{sid}}.json", self._fetch, methods=["GET"]),
                Route("/v2/Indicators/Typing.json", self._show_typing, methods=["POST"]),
                *others,
            ]
        )

    async def _create(self, request: Request) -> Response:
        began, started = time.time(), time.perf_counter()
        if refused := self._auth.refused(request):
            return refused.response()
        form = form_of(await request.body())
        outbound, response = await self._send(form)
        self._messaging.history.record(
            RestCall(
                path=request.url.path,
                user=user_of(request),
                params=form.fields,
                sid=outbound.sid if outbound else "",
                to=form.get("To"),
                time=began,
                status=response.status_code,
                answer=bytes(response.body).decode(),
                lost=isinstance(response, _LostResponse),
                seconds=time.perf_counter() - started,
            )
        )
        return response

    async def _send(self, form: Form) -> tuple[Outbound | None, Response]:
        """Return the accepted message, if any, and the response."""
        messaging, trouble = self._messaging, self._messaging.trouble
        if trouble.unauthenticated and messaging.happens(trouble.unauthenticated):
            return None, UNAUTHENTICATED.response()
        if messaging.happens(trouble.rate_limited):
            return None, _too_many(trouble.limit_code, trouble.retry_after)
        if refused := _refused(form, messaging):
            return None, refused.response()
        outbound = messaging.accept(form)
        first_report = messaging.report(outbound)
        if trouble.early_status:
            await first_report.wait()
        await asyncio.sleep(trouble.answer_delay)
        if messaging.happens(trouble.server_errors):
            return outbound, INTERNAL.response()
        lost = messaging.happens(trouble.lost_answers)
        answer = _LostResponse if lost else JSONResponse
        return outbound, answer(_message(messaging.account_sid, outbound), 201, self._headers())

    async def _list(self, request: Request) -> Response:
        if refused := self._auth.refused(request):
            return refused.response()
        messaging, trouble = self._messaging, self._messaging.trouble
        if Page.of(request).number in trouble.failing_pages:
            return INTERNAL.response()
        latest = time.time() - trouble.list_lag
        found = [
            _message(messaging.account_sid, one)
            for one in messaging.history.outbound
            if one.time <= latest
        ]
        fitting = selected(found, request.query_params)
        return JSONResponse(listed(request, "messages", fitting), 200, self._headers())

    async def _fetch(self, request: Request) -> Response:
        if refused := self._auth.refused(request):
            return refused.response()
        outbound = self._messaging.history.find(request.path_params["sid"])
        if outbound is None:
            return NOT_FOUND.response()
        return JSONResponse(_message(self._messaging.account_sid, outbound), 200, self._headers())

    async def _show_typing(self, request: Request) -> Response:
        # https://www.twilio.com/docs/whatsapp/api/typing-indicators-resource
        if refused := self._auth.refused(request):
            return refused.response()
        form = form_of(await request.body())
        sid = form.get("messageId")
        if form.get("channel") != "whatsapp" or not _MESSAGE_SID.fullmatch(sid):
            return RestError(400, "invalid or incomplete inbound data in MDR").response()
        self._messaging.history.record(TypingShown(sid, time.time()))
        return JSONResponse({"success": True})

    def _headers(self) -> dict[str, str]:
        return {"Twilio-Request-Id": self._messaging.sid("RQ"), "X-Home-Region": "us1"}


class _LostResponse(JSONResponse):
    """Send headers but no body, so that the server closes the connection.

    The client receives less than the declared length, and can't trust the response.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_no_body(event: Message) -> None:
            if event["type"] == "http.response.start":
                await send(event)

        await super().__call__(scope, receive, send_no_body)


def _refused(form: Form, messaging: Messaging) -> RestError | None:
    return _address_refused(form, messaging) or _content_refused(form)


def _address_refused(form: Form, messaging: Messaging) -> RestError | None:
    to, from_ = form.get("To"), form.get("From")
    if not to:
        return RestError(21604, "A 'To' phone number is required.")
    if not from_ and not form.get("MessagingServiceSid"):
        return RestError(21603, "A 'From' phone number is required.")
    if refused := unreachable(to):
        return refused
    if from_ and not (messaging.owns(from_) or is_brand(from_)):
        return _not_ours(from_)
    if opted_out_as(to) in messaging.opted_out:
        return RestError(21610, "Attempt to send to unsubscribed recipient")
    return None


def _not_ours(from_: str) -> RestError:
    if channel_of(from_) == "sms":
        return RestError(21659, f"'From' {from_} is not a Twilio phone number")
    return RestError(63007, "Twilio could not find a Channel with the specified From address")


def _content_refused(form: Form) -> RestError | None:
    media = [value for name, value in form.fields if name == "MediaUrl"]
    if not (form.get("Body") or media or form.get("ContentSid")):
        return RestError(21602, "Message body is required.")
    if units(form.get("Body")) > MAX_BODY:
        return RestError(21617, f"The concatenated message body exceeds the {MAX_BODY} limit.")
    if not all(map(leads_somewhere, media)):
        return RestError(21620, "Invalid media URL(s)")
    if len(media) > MAX_MEDIA:
        return RestError(21623, f"Number of media files exceeds allowed limit of {MAX_MEDIA}.")
    if not _may_be_called_back(form.get("StatusCallback")):
        return RestError(21609, "The StatusCallback URL is not a valid URL.")
    return None


def _may_be_called_back(url: str) -> bool:
    # https://www.twilio.com/docs/api/errors/21609: no underscores in the host's name
    return not url or (usable(url) and "_" not in urlsplit(url).netloc)


def _too_many(code: int, retry_after: int | None) -> Response:
    headers = {} if retry_after is None else {"Retry-After": str(retry_after)}
    return RestError(code, "Too Many Requests", 429).response(headers)


def _message(account_sid: str, outbound: Outbound) -> dict[str, Any]:
    """Return a message in the API's format: numbers are strings, times RFC 2822."""
    created = format_datetime(datetime.fromtimestamp(outbound.time, UTC))
    uri = f"/{API_VERSION}/Accounts/{account_sid}/Messages/{outbound.sid}"
    waits = outbound.status in {"accepted", "queued"}
    return {
        "account_sid": account_sid,
        "api_version": API_VERSION,
        "body": outbound.body,
        "date_created": created,
        "date_sent": None if waits else created,
        "date_updated": created,
        "direction": "outbound-reply" if outbound.inline else "outbound-api",
        "error_code": int(outbound.error_code) if outbound.error_code else None,
        "error_message": None,
        # A Messaging Service chooses its number only after this response.
        "from": None if outbound.service and waits else outbound.from_,
        "messaging_service_sid": outbound.service or None,
        "num_media": str(len(outbound.media)),
        "num_segments": str(segmented(outbound.body).count),
        "price": None,
        "price_unit": None,
        "sid": outbound.sid,
        "status": outbound.status,
        "subresource_uris": {"media": f"{uri}/Media.json"},
        "to": outbound.to,
        "uri": f"{uri}.json",
    }
