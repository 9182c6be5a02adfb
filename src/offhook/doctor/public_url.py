"""Checks by the public URL: whether Twilio would get through, as far as this machine can tell."""

import asyncio
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import httpx2

from offhook.core.forms import Refusal
from offhook.core.responses import ERROR_HEADER, Fault
from offhook.core.signature import sign
from offhook.core.urls import MESSAGES_PATH
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.settings import Settings, SignaturePolicy
from offhook.twilio.client import is_elsewhere
from offhook.twilio.responses import IDENTITY, bounded, error_text, one_line
from offhook.twilio.webhook_urls import messages_url
from offhook.web.health import ALIVE

_SUBJECT: Final = "webhook"
_SIGN: Final = "Set OFFHOOK_SIGNATURE=required, or leave it out."

HEALTH: Final = "/healthz"
_PATIENCE: Final = 8.0  # seconds
_HEADER: Final = 200  # characters of a header that are shown
_BAD_GATEWAY: Final = (502, 503, 504)
_REFUSED: Final = frozenset({Refusal.MISSING_SIGNATURE.value, Refusal.SIGNATURE_MISMATCH.value})
# What else offhook itself may answer to a stranger, and what to do about it.
_OURS: Final[Mapping[str, tuple[str, str]]] = {
    Fault.NOT_FOUND: (
        ": offhook is there, but not at this path",
        "See OFFHOOK_PUBLIC_URL and OFFHOOK_MOUNT_PATH: the path does not fit.",
    ),
    Refusal.NO_AUTH_TOKEN: (": the server has no auth token", "Set TWILIO_AUTH_TOKEN there."),
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """What the public URL answered.

    Attributes:
        error: our own name of the error; empty when something else has answered.
    """

    status: int
    error: str
    location: str = ""


async def webhook(settings: Settings) -> Findings:
    """Look who answers at the public URL, whether strangers are refused, and whether we get in.

    Nothing is stored: what is sent is not signed, or has no MessageSid.
    """
    if not settings.public_url:
        return []  # told by `environment.public_url`
    url = messages_url(settings)
    tokens = settings.auth_tokens
    async with httpx2.AsyncClient(
        timeout=_PATIENCE,
        limits=httpx2.Limits(max_keepalive_connections=0),  # not the same process each time
        follow_redirects=False,
        headers=IDENTITY,
        event_hooks=bounded(),
        trust_env=is_elsewhere(url),
    ) as client:
        try:
            stranger = await _probe(client, url, "")
            if not (stranger.error in _REFUSED or settings.signature is SignaturePolicy.OFF):
                alive = await _is_alive(client, settings)
                return [_not_offhook(url, stranger, alive=alive)]
            own = [await _probe(client, url, token) for token in tokens]
        except (httpx2.HTTPError, TimeoutError) as error:
            remedy = "Mend it at the proxy, the firewall or the DNS; then run this again."
            return [fail(_SUBJECT, f"{url} is not reached from here: {_words(error)}", remedy)]
    if stranger.error not in _REFUSED:
        return [warn(_SUBJECT, f"{url} answers, and takes what is not signed", _SIGN)]
    found = [ok(_SUBJECT, f"{url} answers, and refuses what is not signed (as seen from here)")]
    return [*found, *_accepted(own)]


async def _probe(client: httpx2.AsyncClient, url: str, token: str) -> ProbeResult:
    """Post a form without MessageSid, signed if there is a token; each differs from all others."""
    fields = {"OffhookDoctor": secrets.token_hex(8)}
    headers = {"User-Agent": "offhook doctor"}
    if token:
        headers["X-Twilio-Signature"] = sign(url=url, params=fields.items(), auth_token=token)
    async with asyncio.timeout(_PATIENCE):
        response = await client.post(url, data=fields, headers=headers)
    return ProbeResult(
        response.status_code,
        *(
            one_line(response.headers.get(name, ""), _HEADER)
            for name in (ERROR_HEADER.decode(), "Location")
        ),
    )


async def _is_alive(client: httpx2.AsyncClient, settings: Settings) -> bool:
    """Return whether offhook's health check is there, which a proxy may well keep to itself."""
    async with asyncio.timeout(_PATIENCE):
        response = await client.get(f"{settings.public_url}{settings.mount_path}{HEALTH}")
    return response.status_code == httpx2.codes.OK and response.content == ALIVE


def _not_offhook(url: str, reached: ProbeResult, *, alive: bool) -> Finding:
    """Return what is to be said of an answer that is not offhook's refusal."""
    status, text = reached.status, f"{url} answered {reached.status}"
    if reached.location:
        text = f"{text}, a redirect to {reached.location}"
        return fail(
            _SUBJECT, text, "Give Twilio the URL that answers itself: redirects lose forms."
        )
    if reached.error:
        said, remedy = _OURS.get(reached.error, (f" {reached.error}", "See the log of the server."))
        return fail(_SUBJECT, f"{text}{said}", remedy)
    if status in _BAD_GATEWAY:
        remedy = "Start offhook, and see that the proxy leads to its port."
        return fail(_SUBJECT, f"{text}: a proxy is there, but nobody behind it", remedy)
    if alive:
        remedy = f"See what the proxy does with {MESSAGES_PATH}; it leads {HEALTH} to offhook."
        return fail(_SUBJECT, f"{text}, and it was not offhook, which answers {HEALTH}", remedy)
    remedy = f"See that the proxy leads {MESSAGES_PATH} to offhook, without changing the path."
    return fail(_SUBJECT, f"{text}, and it was not offhook", remedy)


def _accepted(own: list[ProbeResult]) -> Findings:
    """Return whether the server takes for genuine what is signed with our tokens."""
    if not own:
        return []
    wrong = [n for n, one in enumerate(own, start=1) if one.error != Fault.MISSING_MESSAGE_SID]
    if not wrong:
        which = "TWILIO_AUTH_TOKEN" if len(own) == 1 else f"each of the {len(own)} tokens"
        return [ok("signature", f"what is signed with {which} for this URL is accepted")]
    named = "TWILIO_AUTH_TOKEN" if len(own) == 1 else f"token {', '.join(map(str, wrong))}"
    told = own[wrong[0] - 1]
    text = f"the server refuses what is signed with {named}: {told.status} {told.error}".rstrip()
    remedy = "It has another token or another OFFHOOK_PUBLIC_URL than is set here; its log says."
    return [fail("signature", text, remedy)]


def _words(error: Exception) -> str:
    text = str(error)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return f"its certificate can't be verified ({text.rpartition(': ')[2]})"
    if isinstance(error, (httpx2.TimeoutException, TimeoutError)):
        return f"no answer within {_PATIENCE:g} s"
    return error_text(error).partition(" ")[2] or type(error).__name__
