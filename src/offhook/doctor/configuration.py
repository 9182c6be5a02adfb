"""Checks of the settings alone."""

import ipaddress
import os
import re
import resource
from typing import Final
from urllib.parse import urlsplit

from offhook.core.urls import is_public
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.settings import Settings, SignaturePolicy
from offhook.startup import unknown_variables

# As `cli.door` keeps them, for the store, logs, and what else a process has open.
_SPARE_FILES = 64


async def senders(settings: Settings) -> Findings:
    """Look whether workers count the messages of a sender together."""
    if settings.sender_limit is None:
        return []
    amount, seconds = settings.sender_limit
    subject, rate = "sender limit", f"{amount} messages in {seconds:g} s"
    if settings.cache.get_secret_value() != "memory://":
        return [ok(subject, f"{rate}, counted in OFFHOOK_CACHE")]
    if settings.workers == 1 and settings.store_file is not None:
        return [ok(subject, rate)]
    return [
        warn(
            subject,
            f"{rate} in each worker process, for each counts for itself",
            "Set OFFHOOK_CACHE to a Redis, or a lower limit.",
        )
    ]


async def connections(settings: Settings) -> Findings:
    """Look whether a process may open as many files as it may have connections."""
    # An ingress raises the soft limit by itself.
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = files - _SPARE_FILES
    if files == resource.RLIM_INFINITY or possible >= settings.max_connections:
        return [ok("connections", f"at most {settings.max_connections:,} for each ingress")]
    text = f"{possible:,} for each ingress, not {settings.max_connections:,}: {files:,} open files"
    return [warn("connections", text, "Raise `ulimit -Hn`; with systemd, LimitNOFILE=.")]


_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
_SENDER: Final = re.compile(r"(MG[0-9a-f]{32}|([a-z]+:)?\+?[0-9]{3,15}|[a-z]+:.+)")

_CONSOLE: Final = "Copy it from https://console.twilio.com, from the account's dashboard."


async def account(settings: Settings) -> Findings:
    """Look at the account and what proves that we are it."""
    return [_account_sid(settings.account_sid), *_tokens(settings.auth_tokens), *_api_key(settings)]


async def variables(settings: Settings) -> Findings:  # noqa: ARG001 - a check is given them
    """Look for slips in the names of variables."""
    return [
        warn("settings", f"{name} is set, but is not a setting", f"Did you mean {nearest}?")
        if nearest
        else warn("settings", f"{name} is set, but is not a setting", "Remove it, or correct it.")
        for name, nearest in unknown_variables().items()
    ]


async def signature(settings: Settings) -> Findings:
    """Look whether webhooks are validated."""
    if settings.signature is SignaturePolicy.REQUIRED:
        return [ok("signatures", "webhooks must be signed")]
    remedy = "Set OFFHOOK_SIGNATURE=required, or leave it out."
    text = "webhooks are not validated: whoever reaches the port can write as anybody"
    if _is_loopback(settings.host):
        return [warn("signatures", text, remedy)]
    return [fail("signatures", f"{text}, and OFFHOOK_HOST is {settings.host}", remedy)]


async def public_url(settings: Settings) -> Findings:
    """Look whether Twilio could call the public URL, and safely."""
    subject, url = "public URL", settings.public_url
    if not url:
        remedy = "Set it to the URL under which Twilio calls you, e.g. https://bot.example.com."
        return [fail(subject, "OFFHOOK_PUBLIC_URL is not set: `offhook run` needs it", remedy)]
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not is_public(host):
        remedy = "Use a name that the internet knows; for trying out, a tunnel's."
        return [fail(subject, f"{url} can't be reached by Twilio", remedy)]
    if parts.scheme != "https":
        remedy = "Use https, by a proxy in front that terminates TLS."
        return [fail(subject, f"{url}: people's messages would travel in the clear", remedy)]
    if "_" in host:
        # https://www.twilio.com/docs/messaging/api/message-resource, StatusCallback
        remedy = "Choose a host name without underscores."
        return [fail(subject, f"{url}: Twilio refuses status callbacks to such a name", remedy)]
    return [ok(subject, url)]


async def proxies(settings: Settings) -> Findings:
    """Look whose word on the request's URL is believed."""
    findings: list[Finding] = []
    if settings.public_url:
        findings.append(ok("proxies", "signatures are checked against OFFHOOK_PUBLIC_URL"))
    elif settings.trusted_proxies:
        findings.append(ok("proxies", f"believed: {', '.join(settings.trusted_proxies)}"))
        # `offhook run` wants a public URL, so this bot is served by somebody's own uvicorn.
        findings.append(
            warn(
                "proxies",
                "uvicorn puts X-Forwarded-For in the place of the proxy's address, by its own "
                "proxy_headers: OFFHOOK_TRUSTED_PROXIES does not find the proxy then",
                "Set OFFHOOK_PUBLIC_URL, or start uvicorn with --no-proxy-headers.",
            )
        )
    # uvicorn rewrites scheme and peer of requests by itself, on the word of these; under `offhook
    # run` it is told not to. https://www.uvicorn.org/settings/#http
    if os.environ.get("FORWARDED_ALLOW_IPS", "").strip() == "*":
        findings.append(
            warn(
                "proxies",
                "FORWARDED_ALLOW_IPS is *: under `uvicorn bot:app`, uvicorn believes the "
                "X-Forwarded-Proto of anybody",
                "Use `offhook run`, which does not, or start uvicorn with --no-proxy-headers.",
            )
        )
    return findings


async def sender(settings: Settings) -> Findings:
    """Look whether Twilio could take the sender for one."""
    if not settings.sender or _SENDER.fullmatch(settings.sender):
        return []
    remedy = "Write a number as +15551230001, or a Messaging Service SID (MG and 32 digits)."
    return [fail("sender", "OFFHOOK_SENDER is neither a number nor a service", remedy)]


def _account_sid(sid: str) -> Finding:
    subject = "account"
    if not sid:
        return fail(subject, "TWILIO_ACCOUNT_SID is not set", _CONSOLE)
    return ok(subject, f"TWILIO_ACCOUNT_SID is {sid[:6]}...{sid[-4:]}")


def _tokens(tokens: tuple[str, ...]) -> Findings:
    subject = "auth token"
    if not tokens:
        return [fail(subject, "TWILIO_AUTH_TOKEN is not set", _CONSOLE)]
    wrong = [n for n, token in enumerate(tokens, start=1) if not _TOKEN.fullmatch(token)]
    if not wrong:
        return [ok(subject, f"{len(tokens)} set")]
    which = "it" if len(tokens) == 1 else f"number {', '.join(map(str, wrong))}"
    text = f"TWILIO_AUTH_TOKEN: {which} is not 32 hexadecimal digits, as Twilio's are"
    return [warn(subject, text, f"{_CONSOLE} An API key's secret does not sign webhooks.")]


def _api_key(settings: Settings) -> Findings:
    subject = "API key"
    if not settings.api_key:
        if not settings.api_key_secret:
            return []
        return [fail(subject, "TWILIO_API_KEY is not set", "Set both, or neither.")]
    return [ok(subject, f"TWILIO_API_KEY is {settings.api_key[:6]}...")]


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
