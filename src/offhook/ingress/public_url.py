"""Find the URL that Twilio called, and signed: behind a proxy, a request arrives under another."""

import re
from collections.abc import Iterator, Mapping, Sequence
from ipaddress import IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Any, Final
from urllib.parse import quote

from offhook.errors import SettingsError
from offhook.settings import Settings

Headers = Mapping[bytes, bytes]
Network = IPv4Network | IPv6Network

# Where ingress-nginx, Traefik, Caddy and IIS put the path before they changed it.
_ORIGINAL_PATHS: Final = (
    b"x-original-uri",
    b"x-forwarded-uri",
    b"x-original-url",
    b"x-rewrite-url",
)


class PublicUrl:
    """Finds the base of the URL that Twilio called: what precedes the raw path.

    That is `public_url`. Without it, it is the scheme and host of the request, or those in
    `X-Forwarded-Proto` and `X-Forwarded-Host` when the peer is one of `trusted_proxies`. A wrong
    base lets no forgery in: the signature must fit it.

    Raises:
        SettingsError: `trusted_proxies` holds what is neither an address nor a network.
    """

    def __init__(self, settings: Settings) -> None:
        self._fixed = settings.public_url
        self._trusted = _networks(settings.trusted_proxies)

    def base(self, scope: Mapping[str, Any], headers: Headers) -> str:
        """Return the base of a request's URL, without a slash at its end.

        Args:
            scope: of the request.
            headers: its headers, by lower-case name.
        """
        if self._fixed:
            return self._fixed
        scheme, host = str(scope["scheme"]), _first(headers, b"host")
        if self._trusted and self._is_trusted(scope.get("client")):
            forwarded = _first(headers, b"x-forwarded-proto").lower()
            scheme = forwarded if forwarded in {"http", "https"} else scheme
            host = _first(headers, b"x-forwarded-host") or host
        return f"{scheme}://{host}"

    def other_bases(self, scope: Mapping[str, Any], headers: Headers) -> Iterator[str]:
        """Yield the bases that Twilio may have called this request by, the likeliest first.

        Forwarding headers are read from any sender: this is for telling the operator which
        setting would have fitted, never for letting a request in.
        """
        scheme, _, rest = self.base(scope, headers).partition("://")
        yield f"{'http' if scheme == 'https' else 'https'}://{rest}"
        prefixes = (*_prefixes(headers, raw_path(scope)), "")
        for host in _hosts(headers, rest.partition("/")[0]):
            for path in dict.fromkeys(prefixes):
                yield f"https://{host}{path}"
                yield f"http://{host}{path}"

    def _is_trusted(self, client: Sequence[Any] | None) -> bool:
        try:
            address = ip_address(client[0] if client else "")
        except ValueError:  # a Unix socket, or a server that does not say
            return False
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._trusted)


def raw_path(scope: Mapping[str, Any]) -> str:
    """Return the path as it came over the wire, mounts included.

    Starlette's mounts move `root_path` and leave `path` and `raw_path` whole; uvicorn puts its
    own `--root-path` in front of both. A server that gives no `raw_path` gets the path quoted,
    which is the same unless the client quoted more than it had to.
    """
    raw: bytes | None = scope.get("raw_path")
    if raw is None:
        return quote(scope["path"], safe="/:@!$&'()*+,;=~")
    return raw.decode("utf-8", "surrogateescape")


def _first(headers: Headers, name: bytes) -> str:
    """Return a header's value, or the first of a list, to which each proxy has appended."""
    return headers.get(name, b"").decode("latin-1").partition(",")[0].strip()


def _hosts(headers: Headers, used: str) -> Iterator[str]:
    """Yield the hosts that any of a request's headers names, with and without their ports."""
    port = _first(headers, b"x-forwarded-port")
    named = (
        _first(headers, b"x-forwarded-host"),
        _forwarded(headers, "host"),
        _first(headers, b"x-original-host"),
        _first(headers, b"host"),
        used,
    )
    for host in dict.fromkeys(filter(None, named)):
        yield host
        bare = re.sub(r":[0-9]*$", "", host)
        if bare != host:
            yield bare
        elif port.isdigit():
            yield f"{host}:{port}"


def _prefixes(headers: Headers, path: str) -> Iterator[str]:
    """Yield prefixes that a proxy has removed from the path, by its own account."""
    if prefix := _first(headers, b"x-forwarded-prefix").rstrip("/"):
        yield prefix
    for name in _ORIGINAL_PATHS:
        original = headers.get(name, b"").decode("latin-1").partition("?")[0]
        if len(original) > len(path) and original.endswith(path):
            yield original[: -len(path)]


def _forwarded(headers: Headers, name: str) -> str:
    """Return a parameter of the first element of a `Forwarded` header (RFC 7239)."""
    for pair in _first(headers, b"forwarded").split(";"):
        key, _, value = pair.partition("=")
        if key.strip().lower() == name:
            return value.strip().strip('"')
    return ""


def _networks(listed: Sequence[str]) -> tuple[Network, ...]:
    networks = []
    for text in listed:
        try:
            networks.append(ip_network(text))
        except ValueError as error:
            raise SettingsError(
                f"OFFHOOK_TRUSTED_PROXIES: {error}; "
                "give addresses or networks such as 10.0.0.5, 10.0.0.0/8"
            ) from None
    return tuple(networks)
