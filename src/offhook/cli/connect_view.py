"""Show the webhook configuration at Twilio, for `offhook connect`."""

from typing import Any, Final

from rich.text import Text

from offhook.core.urls import without_credentials
from offhook.twilio.webhook_config import (
    PARAMETERS,
    DesiredConfig,
    TargetKind,
    WebhookSetting,
    WebhookTarget,
    differences,
    leads_here,
)

SANDBOX: Final = (
    "The WhatsApp Sandbox is not in Twilio's REST API. In the Console: Messaging, Try it out, "
    'Send a WhatsApp message, Sandbox settings; under "When a message comes in": {url}'
)
SENDERS: Final = (
    "In the Console: Messaging, Senders, WhatsApp senders, the sender; under "
    '"Webhook URL for incoming messages": {url}'
)
_WIDTH: Final = max(len(part) for part in WebhookSetting)
_NAMES: Final = {
    TargetKind.NUMBER: "number",
    TargetKind.SERVICE: "Messaging Service",
    TargetKind.WHATSAPP: "WhatsApp sender",
}


def state(receiver: WebhookTarget, wanted: DesiredConfig) -> str:
    """Return in a few words whether messages to a receiver reach this bot."""
    if receiver.decided_by:
        return f"decided by {receiver.decided_by}"
    if receiver.defers:
        return "left to its numbers"
    if receiver.has(WebhookSetting.APPLICATION):
        return f"decided by {receiver.has(WebhookSetting.APPLICATION)}"
    if not differences(receiver, wanted):
        return "connected"
    if leads_here(receiver, wanted):
        return "connected, but differs"
    return "elsewhere" if receiver.has(WebhookSetting.URL) else "not set"


def shown(receiver: WebhookTarget, wanted: DesiredConfig) -> dict[str, Any]:
    """Return a receiver as an object for scripts."""
    found = differences(receiver, wanted)
    return {
        "kind": receiver.kind,
        "sid": receiver.sid,
        "address": receiver.address,
        "name": receiver.name,
        "state": state(receiver, wanted),
        "connected": not found and not receiver.decided_by,
        "decided_by": receiver.decided_by or None,
        "numbers": list(receiver.pool),
        "webhook": _set(receiver, WebhookSetting.URL) or None,
        "method": _set(receiver, WebhookSetting.METHOD) or None,
        "fallback": _set(receiver, WebhookSetting.FALLBACK) or None,
        "status_callback": _set(receiver, WebhookSetting.STATUS) or None,
        "differences": [
            {
                "what": one.part,
                "now": without_credentials(one.now) or None,
                "expected": without_credentials(one.wanted) or None,
            }
            for one in found
        ],
    }


def row(receiver: WebhookTarget, wanted: DesiredConfig) -> Text:
    """Return a receiver on one line."""
    said = state(receiver, wanted)
    name = "" if receiver.name == receiver.address else f"  {receiver.name}"
    url = (
        _set(receiver, WebhookSetting.URL)
        if said in {"elsewhere", "connected, but differs"}
        else ""
    )
    return Text.assemble(
        (f"{receiver.address:<36}", "bold"),
        (f"{said:<24}", "green" if said == "connected" else "yellow"),
        f"{url}{name}",
    )


def details(receiver: WebhookTarget, wanted: DesiredConfig) -> list[Text]:
    """Return a line for each part of a receiver, with the expected value where it differs."""
    title = f"{_NAMES[receiver.kind]} {receiver.address}"
    name = "" if receiver.name == receiver.address else f"  {receiver.name}"
    lines = [Text.assemble((title, "bold"), name)]
    # A service overrides its numbers, so there is nothing to change at the number.
    found = () if receiver.decided_by else differences(receiver, wanted)
    differing = {one.part: one for one in found}
    for part in PARAMETERS[receiver.kind]:
        now = _set(receiver, part) or "not set"
        if part in differing:
            expected = without_credentials(differing[part].wanted) or "not set"
            lines.append(Text(f"  {part:<{_WIDTH}}  {now}", "yellow"))
            lines.append(Text(f"  {'':<{_WIDTH}}  should be {expected}"))
        elif receiver.has(part):
            lines.append(Text.assemble(f"  {part:<{_WIDTH}}  {now}"))
    if receiver.pool:
        lines.append(Text(f"  {'numbers':<{_WIDTH}}  {', '.join(receiver.pool)}"))
    return [*lines, *_notes(receiver, wanted)]


def _set(receiver: WebhookTarget, part: WebhookSetting) -> str:
    """Return the value, without the user and password that a URL at Twilio may contain."""
    return without_credentials(receiver.has(part))


def _notes(receiver: WebhookTarget, wanted: DesiredConfig) -> list[Text]:
    if receiver.decided_by:
        text = (
            f"The Messaging Service {receiver.decided_by} decides for this number: "
            f"offhook connect --service {receiver.decided_by}"
        )
        return [Text(text, "yellow")]
    if (
        receiver.kind is TargetKind.NUMBER
        and receiver.has(WebhookSetting.URL)
        and not differences(receiver, wanted)
    ):
        return [Text("Connected: write to the number.", "green")]
    return []
