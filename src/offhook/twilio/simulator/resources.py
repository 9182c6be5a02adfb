"""The REST API of the simulated Twilio: numbers, services, senders and alerts.

Twilio serves these resources from several hosts (api, messaging, monitor), the simulator from one.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Final

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from offhook.twilio.simulator.account import Account, Resource
from offhook.twilio.simulator.connection_overrides import usable
from offhook.twilio.simulator.paging import Page, listed
from offhook.twilio.simulator.payloads import API_VERSION
from offhook.twilio.simulator.rest_errors import NOT_FOUND, Authentication, RestError, form_of

_METHODS: Final = frozenset({"GET", "POST"})
_JSON: Final = "application/json"

# The supported parameters of an update, and the fields they set.
_NUMBER: Final[Mapping[str, str]] = {
    "FriendlyName": "friendly_name",
    "SmsApplicationSid": "sms_application_sid",
    "SmsFallbackMethod": "sms_fallback_method",
    "SmsFallbackUrl": "sms_fallback_url",
    "SmsMethod": "sms_method",
    "SmsUrl": "sms_url",
}
_SERVICE: Final[Mapping[str, str]] = {
    "FallbackMethod": "fallback_method",
    "FallbackUrl": "fallback_url",
    "FriendlyName": "friendly_name",
    "InboundMethod": "inbound_method",
    "InboundRequestUrl": "inbound_request_url",
    "StatusCallback": "status_callback",
    "UseInboundWebhookOnNumber": "use_inbound_webhook_on_number",
}


class Resources:
    """Serve the resources of an `Account` to authenticated requests."""

    def __init__(self, account: Account, auth: Authentication) -> None:
        self._account = account
        self._auth = auth
        owned = f"/{API_VERSION}/Accounts/{{account}}"
        numbers, services = f"{owned}/IncomingPhoneNumbers", "/v1/Services"
        self.routes = [
            self._route(f"{owned}.json", self._show_account),
            self._route(f"{numbers}.json", self._list_numbers),
            self._route(f"{numbers}/{{sid}}.json", self._show_number),
            self._route(f"{numbers}/{{sid}}.json", self._change_number, "POST"),
            self._route(services, self._list_services),
            self._route(f"{services}/{{sid}}", self._show_service),
            self._route(f"{services}/{{sid}}", self._change_service, "POST"),
            self._route(f"{services}/{{sid}}/PhoneNumbers", self._list_pool),
            self._route("/v1/Alerts", self._list_alerts),
            self._route("/v2/Channels/Senders", self._list_senders),
            self._route("/v2/Channels/Senders/{sid}", self._show_sender),
            self._route("/v2/Channels/Senders/{sid}", self._change_sender, "POST"),
        ]

    def _route(
        self, path: str, answer: Callable[[Request, bytes], Response], method: str = "GET"
    ) -> Route:
        async def endpoint(request: Request) -> Response:
            if refused := self._auth.refused(request):
                return refused.response()
            return answer(request, await request.body())

        return Route(path, endpoint, methods=[method])

    def _show_account(self, _request: Request, _body: bytes) -> Response:
        sid = self._account.sid
        shown = {"sid": sid, "friendly_name": "Simulated", "status": "active", "type": "Full"}
        return JSONResponse({**shown, "uri": f"/{API_VERSION}/Accounts/{sid}.json"})

    def _list_numbers(self, request: Request, _body: bytes) -> Response:
        wanted = request.query_params.get("PhoneNumber", "")
        found = [one for one in self._account.numbers.values() if wanted in one["phone_number"]]
        return JSONResponse(listed(request, "incoming_phone_numbers", found))

    def _show_number(self, request: Request, _body: bytes) -> Response:
        return _shown(self._account.numbers.get(request.path_params["sid"]))

    def _change_number(self, request: Request, body: bytes) -> Response:
        return _changed(self._account.numbers.get(request.path_params["sid"]), body, _NUMBER)

    def _list_services(self, request: Request, _body: bytes) -> Response:
        return _listed(request, "services", self._account.services.values())

    def _show_service(self, request: Request, _body: bytes) -> Response:
        return _shown(self._account.services.get(request.path_params["sid"]))

    def _change_service(self, request: Request, body: bytes) -> Response:
        return _changed(self._account.services.get(request.path_params["sid"]), body, _SERVICE)

    def _list_pool(self, request: Request, _body: bytes) -> Response:
        sid = request.path_params["sid"]
        if sid not in self._account.services:
            return NOT_FOUND.response()
        kept = ("sid", "account_sid", "phone_number")
        pool = [{name: one[name] for name in kept} for one in self._account.pool(sid)]
        return _listed(request, "phone_numbers", [{**one, "service_sid": sid} for one in pool])

    def _list_alerts(self, request: Request, _body: bytes) -> Response:
        level, start = request.query_params.get("LogLevel"), request.query_params.get("StartDate")
        found = [
            alert
            for alert in self._account.alerts
            if level in {None, alert["log_level"]} and alert["date_generated"] >= (start or "")
        ]
        return _listed(request, "alerts", found)

    def _list_senders(self, request: Request, _body: bytes) -> Response:
        if not self._account.has_senders_api:
            return NOT_FOUND.response()
        # The channel is required: https://www.twilio.com/docs/whatsapp/api/senders
        if request.query_params.get("Channel") != "whatsapp":
            return RestError(20001, "Invalid parameter: Channel").response()
        return _listed(request, "senders", self._account.senders.values())

    def _show_sender(self, request: Request, _body: bytes) -> Response:
        return _shown(self._account.senders.get(request.path_params["sid"]))

    def _change_sender(self, request: Request, body: bytes) -> Response:
        record = self._account.senders.get(request.path_params["sid"])
        if record is None:
            return NOT_FOUND.response()
        if request.headers.get("Content-Type") != _JSON:
            return RestError(20415, "Unsupported Media Type", 415).response()
        webhook = _webhook(body)
        if webhook is None or not all(
            not value or usable(value) for name, value in webhook.items() if name.endswith("_url")
        ):
            return RestError(63100, "Invalid parameter: webhook").response()
        record["webhook"] |= webhook
        return JSONResponse(record, 202)


def _shown(record: Resource | None) -> Response:
    return NOT_FOUND.response() if record is None else JSONResponse(record)


def _changed(record: Resource | None, body: bytes, known: Mapping[str, str]) -> Response:
    """Update a resource atomically from a form; unknown parameters are ignored."""
    if record is None:
        return NOT_FOUND.response()
    given = {name: value for name, value in form_of(body).fields if name in known}
    for name, value in given.items():
        if refused := _refused(name, value):
            return refused.response()
    record |= {known[name]: _value(name, value) for name, value in given.items()}
    return JSONResponse(record)


def _refused(name: str, value: str) -> RestError | None:
    if name.endswith(("Url", "StatusCallback")) and value and not usable(value):
        # https://www.twilio.com/docs/api/errors/21502
        return RestError(21502, f"{name} is not valid: {value}")
    if name.endswith("Method") and value not in _METHODS:
        return RestError(20001, f"Invalid parameter: {name}")
    return None


def _value(name: str, value: str) -> Any:
    return value.lower() == "true" if name == "UseInboundWebhookOnNumber" else value


def _webhook(body: bytes) -> dict[str, str] | None:
    try:
        given = json.loads(body)["webhook"]
    except (ValueError, KeyError, TypeError):
        return None
    return given if isinstance(given, dict) else None


def _listed(request: Request, key: str, records: Iterable[Resource]) -> Response:
    """Return a list in the format of the newer APIs: absolute URLs, in `meta`."""
    found = list(records)
    page = Page.of(request)
    following = request.url.include_query_params(Page=page.number + 1, PageSize=page.size)
    meta = {
        "key": key,
        "page": page.number,
        "page_size": page.size,
        "url": str(request.url),
        "next_page_url": str(following) if page.has_more(found) else None,
    }
    return JSONResponse({key: page.part(found), "meta": meta})
