"""Read and update the webhooks of numbers, services and senders through Twilio's REST API."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

from offhook.core.addresses import channel_of, folded
from offhook.errors import TwilioError
from offhook.twilio.client import TwilioClient
from offhook.twilio.responses import text_of
from offhook.twilio.webhook_config import (
    Difference,
    TargetKind,
    WebhookSetting,
    WebhookTarget,
    changes,
)

API: Final = "/2010-04-01/Accounts"
_SERVICES: Final = "/v1/Services"
_SENDERS: Final = "/v2/Channels/Senders"
_NOT_FOUND: Final = 404
_AT_ONCE: Final = 8  # requests; Twilio answers 429 to too many


class WebhookTargets:
    """The numbers, Messaging Services and WhatsApp senders of one account.

    Every method raises `TwilioError` as `TwilioClient` does, and if the resource does not exist.
    """

    def __init__(self, rest: TwilioClient) -> None:
        self._rest = rest
        self._numbers = f"{API}/{rest.account_sid}/IncomingPhoneNumbers"
        self._turn = asyncio.Semaphore(_AT_ONCE)

    async def numbers(self) -> Sequence[WebhookTarget]:
        """Return the account's numbers, with the Messaging Services that decide for them."""
        listed = self._rest.all("api", f"{self._numbers}.json", "incoming_phone_numbers")
        found = [_number(record) async for record in listed]
        return _decided(found, await self.services())

    async def services(self) -> Sequence[WebhookTarget]:
        """Return the account's Messaging Services, with their numbers."""
        listed = self._rest.all("messaging", _SERVICES, "services")
        found = [_service(record) async for record in listed]
        return await asyncio.gather(*map(self._with_pool, found))

    async def senders(self) -> Sequence[WebhookTarget]:
        """Return the account's WhatsApp senders. The sandbox is not one of them."""
        listed = self._rest.all("messaging", _SENDERS, "senders", Channel="whatsapp")
        return [_sender(record) async for record in listed]

    async def number(self, address: str) -> WebhookTarget:
        """Return a number, or a WhatsApp sender where it begins with `whatsapp:`."""
        address = folded(address)
        if channel_of(address) == "whatsapp":
            found: Sequence[WebhookTarget] = await self.senders()
        else:
            path = f"{self._numbers}.json"
            listed = self._rest.all("api", path, "incoming_phone_numbers", PhoneNumber=address)
            found = [_number(record) async for record in listed]
        exact = [one for one in found if one.address == address]
        if not exact:
            raise TwilioError(f"the account {self._rest.account_sid} has no {address}")
        if exact[0].kind is TargetKind.NUMBER:
            exact = _decided(exact, await self.services())
        return exact[0]

    async def service(self, sid: str) -> WebhookTarget:
        """Return a Messaging Service, with its numbers."""
        try:
            record = await self._rest.get("messaging", f"{_SERVICES}/{sid}")
        except TwilioError as error:
            if error.status != _NOT_FOUND:
                raise
            text = f"the account {self._rest.account_sid} has no Messaging Service {sid}"
            raise TwilioError(text, code=error.code, status=error.status) from error
        return await self._with_pool(_service(record))

    async def change(self, receiver: WebhookTarget, found: Sequence[Difference]) -> WebhookTarget:
        """Apply differences; return the configuration that Twilio reports afterwards."""
        fields = changes(receiver.kind, found)
        match receiver.kind:
            case TargetKind.NUMBER:
                path = f"{self._numbers}/{receiver.sid}.json"
                changed = _number(await self._rest.post("api", path, fields))
            case TargetKind.SERVICE:
                path = f"{_SERVICES}/{receiver.sid}"
                changed = _service(await self._rest.post("messaging", path, fields))
            case TargetKind.WHATSAPP:
                path = f"{_SENDERS}/{receiver.sid}"
                content = {"webhook": fields}
                changed = _sender(await self._rest.post_json("messaging", path, content))
        return replace(changed, pool=receiver.pool, decided_by=receiver.decided_by)

    async def _with_pool(self, service: WebhookTarget) -> WebhookTarget:
        path = f"{_SERVICES}/{service.sid}/PhoneNumbers"
        async with self._turn:
            listed = self._rest.all("messaging", path, "phone_numbers")
            return replace(service, pool=[text_of(one, "phone_number") async for one in listed])


def _decided(
    numbers: Sequence[WebhookTarget], services: Sequence[WebhookTarget]
) -> list[WebhookTarget]:
    """Set `decided_by` of the numbers: https://www.twilio.com/docs/messaging/services."""
    deciding = {
        number: service.sid for service in services if not service.defers for number in service.pool
    }
    return [replace(one, decided_by=deciding.get(one.address, "")) for one in numbers]


def _number(record: Mapping[str, Any]) -> WebhookTarget:
    return WebhookTarget(
        TargetKind.NUMBER,
        text_of(record, "sid"),
        text_of(record, "phone_number"),
        text_of(record, "friendly_name"),
        {
            WebhookSetting.URL: text_of(record, "sms_url"),
            WebhookSetting.METHOD: text_of(record, "sms_method"),
            WebhookSetting.FALLBACK: text_of(record, "sms_fallback_url"),
            WebhookSetting.FALLBACK_METHOD: text_of(record, "sms_fallback_method"),
            WebhookSetting.APPLICATION: text_of(record, "sms_application_sid"),
        },
    )


def _service(record: Mapping[str, Any]) -> WebhookTarget:
    sid = text_of(record, "sid")
    return WebhookTarget(
        TargetKind.SERVICE,
        sid,
        sid,
        text_of(record, "friendly_name"),
        {
            WebhookSetting.URL: text_of(record, "inbound_request_url"),
            WebhookSetting.METHOD: text_of(record, "inbound_method"),
            WebhookSetting.FALLBACK: text_of(record, "fallback_url"),
            WebhookSetting.FALLBACK_METHOD: text_of(record, "fallback_method"),
            WebhookSetting.STATUS: text_of(record, "status_callback"),
            WebhookSetting.DEFERS: "yes" if record.get("use_inbound_webhook_on_number") else "",
        },
    )


def _sender(record: Mapping[str, Any]) -> WebhookTarget:
    webhook = record.get("webhook")
    known: Mapping[str, Any] = webhook if isinstance(webhook, dict) else {}
    profile = record.get("profile")
    return WebhookTarget(
        TargetKind.WHATSAPP,
        text_of(record, "sid"),
        text_of(record, "sender_id"),
        text_of(profile, "name") if isinstance(profile, dict) else "",
        {
            WebhookSetting.URL: text_of(known, "callback_url"),
            WebhookSetting.METHOD: text_of(known, "callback_method"),
            WebhookSetting.FALLBACK: text_of(known, "fallback_url"),
            WebhookSetting.FALLBACK_METHOD: text_of(known, "fallback_method"),
            WebhookSetting.STATUS: text_of(known, "status_callback_url"),
        },
    )
