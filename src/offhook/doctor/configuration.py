"""Checks of the settings alone."""

import os
import re
import resource
from typing import Final
from urllib.parse import urlsplit

from offhook.core.hosts import is_this_machine
from offhook.core.urls import is_public
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.settings import Settings, SignaturePolicy
from offhook.startup import unknown_variables

# Reserved by each ingress for the store, logs and other files.
_SPARE_FILES = 64


async def senders(settings: Settings) -> Findings:
    """Check that workers share one count of each sender's messages."""
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
            f"{rate} per worker process: each keeps its own count",
            "Set OFFHOOK_CACHE to a Redis, or a lower limit.",
        )
    ]


async def connections(settings: Settings) -> Findings:
    """Check that a process may open as many files as it may have connections."""
    # An ingress raises the soft limit by itself.
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = files - _SPARE_FILES
    if files == resource.RLIM_INFINITY or possible >= settings.max_connections:
        return [ok("connections", f"up to {settings.max_connections:,} per ingress")]
    text = (
        f"{possible:,} per ingress, not {settings.max_connections:,}: limit of {files:,} open files"
    )
    return [warn("connections", text, "Raise `ulimit -Hn`; with systemd, LimitNOFILE=.")]


_TOKEN: Final = re.compile(r"[0-9a-f]{32}")
_SENDER: Final = re.compile(r"(MG[0-9a-f]{32}|([a-z]+:)?\+?[0-9]{3,15}|[a-z]+:.+)")

_CONSOLE: Final = "Copy it from the account's dashboard at https://console.twilio.com."


async def account(settings: Settings) -> Findings:
    """Check the account and its credentials."""
    return [_account_sid(settings.account_sid), *_tokens(settings.auth_tokens), *_api_key(settings)]


async def variables(settings: Settings) -> Findings:  # noqa: ARG001 - a check's signature
    """Find misspelled variables."""
    return [
        warn("settings", f"{name} is set, but is not a setting", f"Did you mean {nearest}?")
        if nearest
        else warn("settings", f"{name} is set, but is not a setting", "Remove it, or correct it.")
        for name, nearest in unknown_variables().items()
    ]


async def signature(settings: Settings) -> Findings:
    """Check that webhooks are validated."""
    if settings.signature is SignaturePolicy.REQUIRED:
        return [ok("signatures", "webhooks must be signed")]
    remedy = "Set OFFHOOK_SIGNATURE=required, or unset it."
    text = "webhooks are not validated: anyone who can reach the port can forge messages"
    if is_this_machine(settings.host):
        return [warn("signatures", text, remedy)]
    return [fail("signatures", f"{text}, and OFFHOOK_HOST is {settings.host}", remedy)]


async def public_url(settings: Settings) -> Findings:
    """Check that Twilio can call the public URL, and over TLS."""
    subject, url = "public URL", settings.public_url
    if not url:
        remedy = "Set it to the URL that Twilio calls, for example https://bot.example.com."
        return [fail(subject, "OFFHOOK_PUBLIC_URL is not set; `offhook run` requires it", remedy)]
    parts = urlsplit(url)
    host = parts.hostname or ""
    if not is_public(host):
        remedy = "Use a public host name; for development, that of a tunnel."
        return [fail(subject, f"{url} is not reachable by Twilio", remedy)]
    if parts.scheme != "https":
        remedy = "Use https, with a proxy that terminates TLS."
        return [fail(subject, f"{url}: messages would be sent unencrypted", remedy)]
    if "_" in host:
        # https://www.twilio.com/docs/messaging/api/message-resource, StatusCallback
        remedy = "Use a host name without underscores."
        return [
            fail(
                subject,
                f"{url}: Twilio refuses status callbacks to a host name with an underscore",
                remedy,
            )
        ]
    return [ok(subject, url)]


async def proxies(settings: Settings) -> Findings:
    """Check which proxies may set the request's URL."""
    findings: list[Finding] = []
    if settings.public_url:
        findings.append(ok("proxies", "signatures are checked against OFFHOOK_PUBLIC_URL"))
    elif settings.trusted_proxies:
        findings.append(ok("proxies", f"trusted: {', '.join(settings.trusted_proxies)}"))
        # `offhook run` requires a public URL, so this bot runs under the user's own uvicorn.
        findings.append(
            warn(
                "proxies",
                "uvicorn's proxy_headers replaces the proxy's address by X-Forwarded-For, so "
                "OFFHOOK_TRUSTED_PROXIES never matches",
                "Set OFFHOOK_PUBLIC_URL, or start uvicorn with --no-proxy-headers.",
            )
        )
    # uvicorn rewrites scheme and peer of requests from these; `offhook run` turns that off.
    # https://www.uvicorn.org/settings/#http
    if os.environ.get("FORWARDED_ALLOW_IPS", "").strip() == "*":
        findings.append(
            warn(
                "proxies",
                "FORWARDED_ALLOW_IPS is *: under `uvicorn bot:app`, uvicorn trusts "
                "X-Forwarded-Proto from any client",
                "Use `offhook run`, which does not, or start uvicorn with --no-proxy-headers.",
            )
        )
    return findings


async def sender(settings: Settings) -> Findings:
    """Check the form of the sender."""
    if not settings.sender or _SENDER.fullmatch(settings.sender):
        return []
    remedy = "Use a number such as +15551230001, or a Messaging Service SID (MG and 32 digits)."
    return [
        fail("sender", "OFFHOOK_SENDER is neither a number nor a Messaging Service SID", remedy)
    ]


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
    text = f"TWILIO_AUTH_TOKEN: {which} is not 32 hexadecimal digits"
    return [warn(subject, text, f"{_CONSOLE} An API key's secret does not sign webhooks.")]


def _api_key(settings: Settings) -> Findings:
    subject = "API key"
    if not settings.api_key:
        if not settings.api_key_secret:
            return []
        return [fail(subject, "TWILIO_API_KEY is not set", "Set both, or neither.")]
    return [ok(subject, f"TWILIO_API_KEY is {settings.api_key[:6]}...")]
