"""Checks of the public URL: whether Twilio can reach offhook, as seen from this machine."""

import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final

from aiohttp import ClientConnectorCertificateError, ClientError, ClientSession

from offhook.core.forms import Refusal
from offhook.core.responses import ERROR_HEADER, Fault
from offhook.core.signature import sign
from offhook.core.texts import one_line
from offhook.core.urls import MESSAGES_PATH
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.http_session import error_text, open_session, proxy_for, request, timeouts
from offhook.settings import Settings, SignaturePolicy
from offhook.twilio.webhook_urls import messages_url
from offhook.web.health import ALIVE

_SUBJECT: Final = "webhook"
_SIGN: Final = "Set OFFHOOK_SIGNATURE=required, or unset it."

HEALTH: Final = "/healthz"
_PATIENCE: Final = 8.0  # seconds
_TIMEOUT: Final = timeouts(connect=_PATIENCE, read=_PATIENCE, total=_PATIENCE)
_HEADER: Final = 200  # characters of a header that are shown
_BAD_GATEWAY: Final = (502, 503, 504)
_REFUSED: Final = frozenset({Refusal.MISSING_SIGNATURE.value, Refusal.SIGNATURE_MISMATCH.value})
# Other answers of offhook's to an unsigned request, and their remedies.
_OURS: Final[Mapping[str, tuple[str, str]]] = {
    Fault.NOT_FOUND: (
        ": offhook answers there, but not at this path",
        "Check the path in OFFHOOK_PUBLIC_URL and OFFHOOK_MOUNT_PATH.",
    ),
    Refusal.NO_AUTH_TOKEN: (": the server has no auth token", "Set TWILIO_AUTH_TOKEN there."),
}


@dataclass(frozen=True, slots=True)
class ProbeResult:
    """The answer of the public URL.

    Attributes:
        error: offhook's name of the error; empty if something else answered.
    """

    status: int
    error: str
    location: str = ""


async def webhook(settings: Settings) -> Findings:
    """Check that offhook answers at the public URL, and accepts signed requests only.

    Nothing is stored: the requests are not signed, or have no MessageSid.
    """
    if not settings.public_url:
        return []  # reported by `configuration.public_url`
    url = messages_url(settings)
    tokens = settings.auth_tokens
    # A new connection each time, so that it is not the same process which answers.
    async with open_session(_TIMEOUT, proxy=proxy_for(url)) as session:
        try:
            unsigned = await _probe(session, url, "")
            if not (unsigned.error in _REFUSED or settings.signature is SignaturePolicy.OFF):
                alive = await _is_alive(session, settings)
                return [_not_offhook(url, unsigned, alive=alive)]
            own = [await _probe(session, url, token) for token in tokens]
        except (ClientError, TimeoutError) as error:
            remedy = "Check the proxy, the firewall and the DNS; then run this again."
            return [fail(_SUBJECT, f"{url} cannot be reached from here: {_reason(error)}", remedy)]
    if unsigned.error not in _REFUSED:
        return [warn(_SUBJECT, f"{url} answers, and accepts unsigned requests", _SIGN)]
    found = [ok(_SUBJECT, f"{url} answers, and refuses unsigned requests (as seen from here)")]
    return [*found, *_accepted(own)]


async def _probe(session: ClientSession, url: str, token: str) -> ProbeResult:
    """Post a unique form without MessageSid, signed if there is a token."""
    fields = {"OffhookDoctor": secrets.token_hex(8)}
    headers = {"User-Agent": "offhook doctor"}
    if token:
        headers["X-Twilio-Signature"] = sign(url=url, params=fields.items(), auth_token=token)
    response = await request(session, "POST", url, data=fields, headers=headers)
    return ProbeResult(
        response.status,
        *(
            one_line(response.headers.get(name, ""), _HEADER)
            for name in (ERROR_HEADER.decode(), "Location")
        ),
    )


async def _is_alive(session: ClientSession, settings: Settings) -> bool:
    """Return whether offhook's health check answers; a proxy may well not forward it."""
    url = f"{settings.public_url}{settings.mount_path}{HEALTH}"
    response = await request(session, "GET", url)
    return response.status == HTTPStatus.OK and response.content == ALIVE


def _not_offhook(url: str, reached: ProbeResult, *, alive: bool) -> Finding:
    """Return the finding for an answer other than offhook's refusal."""
    status, text = reached.status, f"{url} answered {reached.status}"
    if reached.location:
        text = f"{text}, a redirect to {reached.location}"
        return fail(
            _SUBJECT, text, "Use the URL that answers without a redirect: redirects lose the form."
        )
    if reached.error:
        said, remedy = _OURS.get(reached.error, (f" {reached.error}", "See the server's log."))
        return fail(_SUBJECT, f"{text}{said}", remedy)
    if status in _BAD_GATEWAY:
        remedy = "Start offhook, and check that the proxy forwards to its port."
        return fail(_SUBJECT, f"{text}: the proxy cannot reach offhook", remedy)
    if alive:
        remedy = f"Check how the proxy forwards {MESSAGES_PATH}; it forwards {HEALTH} to offhook."
        return fail(_SUBJECT, f"{text}, but not from offhook, which answers {HEALTH}", remedy)
    remedy = f"Check that the proxy forwards {MESSAGES_PATH} to offhook, without changing the path."
    return fail(_SUBJECT, f"{text}, but not from offhook", remedy)


def _accepted(own: list[ProbeResult]) -> Findings:
    """Return whether the server accepts requests signed with our tokens."""
    if not own:
        return []
    wrong = [n for n, one in enumerate(own, start=1) if one.error != Fault.MISSING_MESSAGE_SID]
    if not wrong:
        which = "TWILIO_AUTH_TOKEN" if len(own) == 1 else f"each of the {len(own)} tokens"
        return [ok("signature", f"requests signed with {which} are accepted")]
    named = "TWILIO_AUTH_TOKEN" if len(own) == 1 else f"token {', '.join(map(str, wrong))}"
    answer = own[wrong[0] - 1]
    text = (
        f"the server refuses requests signed with {named}: {answer.status} {answer.error}".rstrip()
    )
    remedy = "Its token or OFFHOOK_PUBLIC_URL differs from the one set here; see its log."
    return [fail("signature", text, remedy)]


def _reason(error: Exception) -> str:
    text = error_text(error)
    if isinstance(error, ClientConnectorCertificateError):
        return f"its certificate cannot be verified ({text.rpartition(': ')[2]})"
    if isinstance(error, TimeoutError):
        return f"no answer within {_PATIENCE:g} s"
    return text.partition(" ")[2] or type(error).__name__
