"""Checks at Twilio: credentials, webhook configuration, and failed webhooks."""

import asyncio
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from offhook.core.account import Login
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.errors import TwilioError
from offhook.settings import Settings
from offhook.twilio.client import TwilioClient
from offhook.twilio.error_codes import WEBHOOK_MEANINGS
from offhook.twilio.responses import text_of
from offhook.twilio.webhook_config import DesiredConfig, WebhookTarget, differences, leads_here
from offhook.twilio.webhook_targets import API, WebhookTargets
from offhook.twilio.webhook_urls import webhook_url

_REFUSED: Final = (401, 403)
_SHOWN: Final = 5  # findings of a kind; the rest are counted
_TIMEOUT: Final = 8.0  # seconds; an account may have thousands of numbers
_BACK: Final = timedelta(hours=24)
_CONSOLE: Final = "https://console.twilio.com/us1/monitor/logs/debugger/errors"


async def tokens(settings: Settings) -> Findings:
    """Check which of the auth tokens Twilio accepts.

    It accepts a secondary token too, which signs nothing until promoted: this does not show which
    one signs. https://www.twilio.com/docs/iam/api/authtoken-secondary
    """
    if not settings.account_sid or not settings.auth_tokens:
        return []  # reported by `configuration.account`
    known: list[bool] = []
    for token in settings.auth_tokens:
        async with TwilioClient(settings, Login(settings.account_sid, token)) as rest:
            try:
                await rest.get("api", f"{API}/{settings.account_sid}.json")
            except TwilioError as error:
                if error.status not in _REFUSED:
                    return [_unasked("auth token", error)]
                known.append(False)
            else:
                known.append(True)
    return [_known(known)]


async def connections(settings: Settings) -> Findings:
    """Check the webhooks of the account's numbers, services and senders."""
    if not (settings.public_url and settings.account_sid):
        return []
    subject, wanted = "connections", DesiredConfig(webhook_url(settings))
    try:
        async with asyncio.timeout(_TIMEOUT), TwilioClient(settings) as rest:
            receivers = WebhookTargets(rest)
            found = [*await receivers.numbers(), *await receivers.services()]
            found += await _senders(receivers)
    except TwilioError as error:
        return [_unasked(subject, error)]
    except TimeoutError:
        text = f"Twilio's configuration could not be listed within {_TIMEOUT:g} s"
        return [warn(subject, text, "`offhook connect` lists it without a time limit.")]
    here = [one for one in found if leads_here(one, wanted)]
    if not here:
        text = f"none of the {len(found)} numbers, services and senders uses this webhook"
        remedy = "`offhook connect` lists and sets them. (The WhatsApp Sandbox is not listed.)"
        return [warn(subject, text, remedy)]
    differing = [one for one in here if differences(one, wanted)]
    right = len(here) - len(differing)
    findings = [_differs(one, wanted) for one in differing[:_SHOWN]]
    if len(differing) > _SHOWN:
        text = f"{len(differing) - _SHOWN} more have other overrides, methods or fallbacks"
        findings.append(warn(subject, text, "`offhook connect` lists them."))
    if right:
        findings.insert(
            0, ok(subject, f"{right} of {len(found)} at Twilio are configured as expected")
        )
    return findings


async def alerts(settings: Settings) -> Findings:
    """Check Twilio's log of failed webhooks of the last day."""
    if not (settings.public_url and settings.account_sid):
        return []
    subject, start = "alerts", datetime.now(UTC) - _BACK
    query = {"LogLevel": "error", "StartDate": f"{start:%Y-%m-%dT%H:%M:%SZ}"}
    try:
        async with TwilioClient(settings) as rest:
            listed = rest.all("monitor", "/v1/Alerts", "alerts", **query)
            found = [one async for one in listed if _is_ours(one, settings.public_url)]
    except TwilioError as error:
        return [_unasked(subject, error)]
    if not found:
        return [ok(subject, "Twilio logged no failed webhook in 24 hours")]
    codes = Counter(text_of(one, "error_code") for one in found)
    latest = {text_of(one, "error_code"): _when(one) for one in reversed(found)}
    return [_alert(code, count, latest[code]) for code, count in codes.most_common(_SHOWN)]


async def _senders(receivers: WebhookTargets) -> Sequence[WebhookTarget]:
    try:
        return await receivers.senders()
    except TwilioError:
        return ()  # in beta, and not open to all accounts


def _known(known: Sequence[bool]) -> Finding:
    subject, wrong = "auth token", [n for n, one in enumerate(known, start=1) if not one]
    if not wrong:
        which = "it" if len(known) == 1 else f"all {len(known)}"
        return ok(subject, f"Twilio accepts {which}")
    if len(wrong) == len(known):
        remedy = "Copy it from the account's dashboard at https://console.twilio.com."
        return fail(subject, "Twilio does not accept TWILIO_AUTH_TOKEN for this account", remedy)
    numbers = ", ".join(map(str, wrong))
    text = f"Twilio does not accept token {numbers} of {len(known)}: it signs no webhooks"
    remedy = "Remove it from TWILIO_AUTH_TOKEN."
    if wrong[0] == 1:
        remedy = "Remove it from TWILIO_AUTH_TOKEN at once: replies are sent with the first."
        return fail(subject, text, remedy)
    return warn(subject, text, remedy)


def _differs(receiver: WebhookTarget, wanted: DesiredConfig) -> Finding:
    parts = ", ".join(one.part for one in differences(receiver, wanted))
    option = "--service" if receiver.address.startswith("MG") else "--number"
    text = f"{receiver.address} uses this webhook, but differs in: {parts}"
    remedy = f"`offhook connect {option} {receiver.address}` shows and sets it."
    return warn("connections", text, remedy)


def _alert(code: str, count: int, when: str) -> Finding:
    times = "once" if count == 1 else f"{count:,} times"
    text = f"error {code}, {times} in 24 hours, last at {when}"
    remedy = WEBHOOK_MEANINGS.get(code) or f"See https://www.twilio.com/docs/api/errors/{code}."
    return warn("alerts", text, f"{remedy} Each is at {_CONSOLE}.")


def _unasked(subject: str, error: TwilioError) -> Finding:
    if error.status in _REFUSED:
        return fail(subject, f"Twilio refused: {error}", "Check the credentials.")
    return warn(subject, f"Twilio is unavailable: {error}", "Run it again later.")


def _is_ours(alert: Mapping[str, Any], public_url: str) -> bool:
    return text_of(alert, "request_url").startswith(public_url)


def _when(alert: Mapping[str, Any]) -> str:
    return text_of(alert, "date_generated") or text_of(alert, "date_created") or "an unknown time"
