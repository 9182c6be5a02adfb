"""The webhooks' routes, and the spellings of a URL that Twilio may have signed."""

import re
from collections.abc import Iterator
from ipaddress import ip_address
from itertools import product
from typing import Final
from urllib.parse import urlsplit

# Twilio adds this to the query of a request with a JSON body:
# https://www.twilio.com/docs/usage/webhooks/webhooks-security
BODY_SHA256: Final = "bodySHA256"

# :443 for wss, because that is where such a URL leads; twilio-python tries :80.
_DEFAULT_PORTS: Final = {"http": ":80", "ws": ":80", "https": ":443", "wss": ":443"}
_MAX_PORT: Final = 65_535

_URL: Final = re.compile(
    r"""
    (?P<scheme> https? | wss? ) ://
    (?P<userinfo> [^/?\#]*@ )?
    (?P<host> \[ [^][/?\#@]+ \] | [^][:/?\#@]+ )
    (?P<port> : [0-9]{0,5} )?
    (?P<path> (?: / [^?\#]* )? )
    (?P<query> (?: \? [^\#]* )? )
    """,
    re.VERBOSE | re.IGNORECASE | re.ASCII,
)


MESSAGES_PATH: Final = "/twilio/messages"
"""The route of inbound messages."""

STATUS_PATH: Final = "/twilio/status"
"""The route of delivery statuses."""

# Names that resolve only within a network (RFC 6761, RFC 6762, RFC 8375).
_PRIVATE_NAMES: Final = (".localhost", ".local", ".internal", ".lan", ".home.arpa", ".test")
_WEB: Final = re.compile(r"https?://\S+", re.IGNORECASE)

RETRY_OVERRIDES: Final = "#rc=5&rp=5xx,ct,rt"
"""Makes Twilio retry a webhook up to five times: on 5xx, on connection and read failures.

By default it retries a connection failure once. A fragment is neither sent nor signed.
https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides
"""


def as_requested(url: str) -> str:
    """Return `url` without user info and fragment, which Twilio leaves out of what it signs.

    Never raises; text that is not a URL comes back without its fragment.

    Source: https://www.twilio.com/docs/usage/security (user info),
    https://www.twilio.com/docs/usage/webhooks/webhooks-connection-overrides (fragment).
    """
    url = without_fragment(url)
    match = _URL.fullmatch(url)
    if match is None or not match["userinfo"]:
        return url
    return url[: match.start("userinfo")] + url[match.end("userinfo") :]


def other_spellings(url: str) -> tuple[str, ...] | None:
    """Return the ways other than `url` itself to write the same URL, the likeliest first.

    At most 31. They vary the port (the scheme's default one added, any given one left out),
    user info, the case of scheme and host, an empty query's `?`, an empty path's `/`, a
    quote in the query, and for WebSockets a `/` at the end; a fragment is always left out.

    None when `url` is not an absolute http, https, ws or wss URL.

    Source: https://www.twilio.com/docs/usage/security and
    docs/decisions/0002-signature-where-sdks-differ.md.
    """
    match = _URL.fullmatch(without_fragment(url))
    if match is None or int((match["port"] or ":")[1:] or 0) > _MAX_PORT:
        return None
    spellings = map("".join, product(_origins(match), _paths(match), _queries(match["query"])))
    return tuple(spelling for spelling in dict.fromkeys(spellings) if spelling != url)


def query_value(url: str, name: str) -> str | None:
    """Return the undecoded last value of `name` in the query of `url`, None without one.

    The last, because Twilio appends its own parameter to those the URL already had.
    """
    query = without_fragment(url).partition("?")[2]
    values = [
        v for k, found, v in (p.partition("=") for p in query.split("&")) if k == name and found
    ]
    return values[-1] if values else None


def with_query_value(url: str, name: str, value: str) -> str:
    """Return `url` without its fragment and with `name=value` appended to its query."""
    url = without_fragment(url)
    separator = "" if url.endswith("?") else "&" if "?" in url else "?"
    return f"{url}{separator}{name}={value}"


def is_public(host: str) -> bool:
    """Return whether a name or an address may be reachable from the internet."""
    try:
        return ip_address(host).is_global
    except ValueError:
        return "." in host and not host.endswith(_PRIVATE_NAMES)


def without_credentials(url: str) -> str:
    """Return `url` for display: its user and password replaced."""
    return re.sub(r"(?<=://)[^/?#]*@", "***@", url, count=1)


def leads_somewhere(url: str) -> bool:
    """Return whether a URL is absolute, and http or https."""
    try:
        parts = urlsplit(url)
        _ = parts.port  # raises when it is no number, or out of range
    except ValueError:
        return False
    return bool(parts.hostname) and url.isprintable() and _WEB.fullmatch(url) is not None


def without_fragment(url: str) -> str:
    """Return `url` up to its `#`: the rest is never sent."""
    return url.partition("#")[0]


def _origins(match: re.Match[str]) -> Iterator[str]:
    scheme, userinfo, host, port = match.group("scheme", "userinfo", "host", "port")
    other_port = "" if port is not None else _DEFAULT_PORTS[scheme.lower()]
    for scheme_, host_ in ((scheme, host), (scheme.lower(), host.lower())):
        for userinfo_ in (userinfo, "") if userinfo else ("",):
            for port_ in (port or "", other_port):
                yield f"{scheme_}://{userinfo_}{host_}{port_}"


def _paths(match: re.Match[str]) -> tuple[str, ...]:
    path = match["path"]
    if path in {"", "/"}:
        return path, "/" if path == "" else ""
    if match["scheme"].lower() in {"ws", "wss"} and not path.endswith("/"):
        return path, path + "/"
    return (path,)


def _queries(query: str) -> tuple[str, ...]:
    if query in {"", "?"}:
        return query, "?" if query == "" else ""
    return query, query.replace("'", "%27")
