"""What differs between what Twilio has set and what is expected."""

import pytest

from offhook.twilio.client import host_of
from offhook.twilio.webhook_config import (
    DesiredConfig,
    TargetKind,
    WebhookSetting,
    WebhookTarget,
    address_of,
    changes,
    differences,
    leads_here,
)

WANTED = DesiredConfig("https://bot.example.com/twilio/messages#rc=5&rp=5xx,ct,rt")
RIGHT = {
    WebhookSetting.URL: WANTED.url,
    WebhookSetting.METHOD: "POST",
    WebhookSetting.FALLBACK: WANTED.url,
    WebhookSetting.FALLBACK_METHOD: "POST",
}


def number(**changed: str) -> WebhookTarget:
    now = {**RIGHT, **{WebhookSetting[name.upper()]: value for name, value in changed.items()}}
    return WebhookTarget(TargetKind.NUMBER, "PN1", "+15551230001", now=now)


@pytest.mark.parametrize(
    ("changed", "parameters", "here"),
    [
        ({}, {}, True),
        ({"url": "https://other.example.com/"}, {"SmsUrl": WANTED.url}, False),
        ({"url": "https://bot.example.com/twilio/messages"}, {"SmsUrl": WANTED.url}, True),
        ({"method": "GET"}, {"SmsMethod": "POST"}, True),
        ({"fallback": ""}, {"SmsFallbackUrl": WANTED.url}, True),
        ({"fallback": "", "fallback_method": "GET"},
         {"SmsFallbackUrl": WANTED.url, "SmsFallbackMethod": "POST"}, True),
        ({"fallback": "https://sorry.example.com/", "fallback_method": "GET"}, {}, True),
        ({"application": "AP1"}, {"SmsApplicationSid": ""}, False),
    ],
)  # fmt: skip
def test_of_a_number(changed: dict[str, str], parameters: dict[str, str], here: bool) -> None:
    receiver = number(**changed)
    assert changes(receiver.kind, differences(receiver, WANTED)) == parameters
    assert leads_here(receiver, WANTED) is here


def test_a_fallback_that_was_asked_for_is_set() -> None:
    wanted = WANTED._replace(fallback_url="https://sorry.example.com/")
    assert changes(TargetKind.NUMBER, differences(number(), wanted)) == {
        "SmsFallbackUrl": "https://sorry.example.com/"
    }


def test_of_a_service() -> None:
    service = WebhookTarget(
        TargetKind.SERVICE, "MG1", "MG1", now={**RIGHT, WebhookSetting.DEFERS: "yes"}
    )
    wanted = WANTED._replace(status_callback="https://bot.example.com/twilio/status")
    assert changes(TargetKind.SERVICE, differences(service, wanted)) == {
        "StatusCallback": "https://bot.example.com/twilio/status",
        "UseInboundWebhookOnNumber": "false",
    }
    assert not leads_here(service, WANTED)


def test_a_number_has_no_status_callback_for_messages() -> None:
    assert differences(number(), WANTED._replace(status_callback="https://a.example/")) == ()


@pytest.mark.parametrize(
    ("api", "messaging"),
    [
        ("https://api.twilio.com", "https://messaging.twilio.com"),
        ("https://api.dublin.ie1.twilio.com", "https://messaging.dublin.ie1.twilio.com"),
        ("http://127.0.0.1:4711", "http://127.0.0.1:4711"),
        ("https://relay.example.com/twilio", "https://relay.example.com/twilio"),
        ("https://api.twilio.com.example.com", "https://api.twilio.com.example.com"),
    ],
)
def test_the_hosts_of_other_products(api: str, messaging: str) -> None:
    assert host_of(api, "messaging") == messaging


@pytest.mark.parametrize(
    ("written", "address"),
    [
        ("+15551230001", "+15551230001"),
        (" 1 (555) 123-0001 ", "+15551230001"),
        ("WhatsApp:+1 555 123 0001", "whatsapp:+15551230001"),
        ("whatsapp:15551230001", "whatsapp:+15551230001"),
        ("55512", "55512"),
        ("BOB", "BOB"),
    ],
)
def test_numbers_as_people_write_them(written: str, address: str) -> None:
    assert address_of(written) == address
