"""The simulated account: numbers, Messaging Services, WhatsApp senders, alerts.

Resources are stored in the REST API's format. https://www.twilio.com/docs/phone-numbers/api,
https://www.twilio.com/docs/messaging/api/service-resource,
https://www.twilio.com/docs/whatsapp/api/senders, https://www.twilio.com/docs/usage/monitor-alert
"""

from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import format_datetime
from typing import Any, Final, NamedTuple

from offhook.twilio.simulator.payloads import API_VERSION

Resource = dict[str, Any]

ALERTS: Final = 1_000
"""How many alerts are kept; Twilio keeps those of 30 days."""


class Webhook(NamedTuple):
    """The URLs requested for a message; empty if not set."""

    url: str = ""
    fallback_url: str = ""


class Account:
    """One account's resources.

    Args:
        sid: the account's.
        new_sid: makes a SID from its prefix.

    Attributes:
        has_senders_api: whether the account may use the API for WhatsApp senders, a public beta.
    """

    def __init__(self, sid: str, new_sid: Callable[[str], str]) -> None:
        self.sid = sid
        self.numbers: dict[str, Resource] = {}
        self.services: dict[str, Resource] = {}
        self.senders: dict[str, Resource] = {}
        self.alerts: deque[Resource] = deque(maxlen=ALERTS)
        self.has_senders_api = True
        self._pools: dict[str, list[str]] = {}
        self._sid = new_sid

    def add_number(self, number: str) -> Resource:
        """Add a number, without webhooks, as after it is bought."""
        record = self._number(self._sid("PN"), number)
        self.numbers[record["sid"]] = record
        return record

    def add_service(self, sid: str = "", name: str = "", numbers: tuple[str, ...] = ()) -> Resource:
        """Add a Messaging Service with numbers of the account in its sender pool."""
        record = self._service(sid or self._sid("MG"), name)
        self.services[record["sid"]] = record
        self._pools[record["sid"]] = list(numbers)
        return record

    def add_sender(self, number: str) -> Resource:
        """Register a number as a WhatsApp sender."""
        sid = self._sid("XE")
        record: Resource = {
            "sid": sid,
            "sender_id": f"whatsapp:{number}",
            "status": "ONLINE",
            "configuration": {"waba_id": "1"},
            "webhook": {
                "callback_url": "",
                "callback_method": "POST",
                "fallback_url": "",
                "fallback_method": "POST",
                "status_callback_url": "",
                "status_callback_method": "POST",
            },
            "profile": {"name": number},
            "properties": None,
            "offline_reasons": None,
            "url": f"/v2/Channels/Senders/{sid}",
        }
        self.senders[sid] = record
        return record

    def pool(self, service: str) -> list[Resource]:
        """Return the numbers of a Messaging Service."""
        numbers = self._pools[service]
        return [record for record in self.numbers.values() if record["phone_number"] in numbers]

    def number(self, number: str) -> Resource | None:
        """Return the record of a number of this account."""
        found = (one for one in self.numbers.values() if one["phone_number"] == number)
        return next(found, None)

    def webhook(self, number: str, channel: str) -> Webhook:
        """Return the webhook for messages to a number.

        A WhatsApp sender has its own. A Messaging Service's applies to its numbers, unless it
        defers to theirs; a service without a URL drops the message.
        """
        if channel == "whatsapp":
            for sender in self.senders.values():
                if sender["sender_id"] == f"whatsapp:{number}":
                    own = sender["webhook"]
                    return Webhook(own["callback_url"] or "", own["fallback_url"] or "")
        record = self.number(number)
        for sid, service in self.services.items():
            decides = not service["use_inbound_webhook_on_number"]
            if decides and number in self._pools[sid]:
                return Webhook(service["inbound_request_url"] or "", service["fallback_url"] or "")
        return (
            Webhook() if record is None else Webhook(record["sms_url"], record["sms_fallback_url"])
        )

    def alert(self, code: int, url: str, resource: str) -> None:
        """Record an alert about a failed webhook."""
        sid, now = self._sid("NO"), _now()
        self.alerts.appendleft(
            {
                "sid": sid,
                "account_sid": self.sid,
                "alert_text": f"sourceComponent=14100&url={url}&ErrorCode={code}",
                "api_version": API_VERSION,
                "date_created": now,
                "date_generated": now,
                "date_updated": now,
                "error_code": str(code),
                "log_level": "error",
                "more_info": f"https://www.twilio.com/docs/errors/{code}",
                "request_method": "POST",
                "request_url": url,
                "resource_sid": resource,
                "service_sid": None,
                "url": f"/v1/Alerts/{sid}",
            }
        )

    def _number(self, sid: str, number: str) -> Resource:
        now = format_datetime(datetime.now(UTC))
        return {
            "account_sid": self.sid,
            "api_version": API_VERSION,
            "capabilities": {"voice": True, "sms": True, "mms": True, "fax": False},
            "date_created": now,
            "date_updated": now,
            "friendly_name": number,
            "phone_number": number,
            "sid": sid,
            "sms_application_sid": "",
            "sms_fallback_method": "POST",
            "sms_fallback_url": "",
            "sms_method": "POST",
            "sms_url": "",
            "status_callback": "",
            "status_callback_method": "POST",
            "uri": f"/{API_VERSION}/Accounts/{self.sid}/IncomingPhoneNumbers/{sid}.json",
        }

    def _service(self, sid: str, name: str) -> Resource:
        now = _now()
        return {
            "sid": sid,
            "account_sid": self.sid,
            "friendly_name": name or "My Messaging Service",
            "date_created": now,
            "date_updated": now,
            "inbound_request_url": None,
            "inbound_method": "POST",
            "fallback_url": None,
            "fallback_method": "POST",
            "status_callback": None,
            "use_inbound_webhook_on_number": False,
            "url": f"/v1/Services/{sid}",
        }


def _now() -> str:
    return f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}"
