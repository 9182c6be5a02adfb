"""Host names, as in Host headers."""

import re
from collections.abc import Iterable
from functools import lru_cache
from ipaddress import ip_address
from typing import Final

_MAX_NAME: Final = 255  # octets of a name in the DNS (RFC 1035, 2.3.4)
_MAX_PORT: Final = 65_535

# The authority of a URL, without user info (RFC 3986, 3.2.2 and 3.2.3).
_HOST: Final = re.compile(
    r"(?P<name>\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9._~!$&'()*+,;=%-]+)(?::(?P<port>[0-9]{0,5}))?"
)


# All requests to a server name few hosts.
@lru_cache(maxsize=256)
def host_name(host: str) -> str | None:
    """Return the name or address in `host:port`, in lower case; None if it is malformed.

    An IPv6 address keeps its brackets; a trailing dot is removed.
    """
    match = _HOST.fullmatch(host)
    if match is None or len(match["name"]) > _MAX_NAME or int(match["port"] or 0) > _MAX_PORT:
        return None
    return match["name"].lower().removesuffix(".")


class HostNames:
    """A set of host names: exact ones, `*.example.com` for all subdomains, `*` for all hosts."""

    def __init__(self, listed: Iterable[str]) -> None:
        names = frozenset(name.lower().removesuffix(".") for name in listed)
        self._names = frozenset(name for name in names if not name.startswith("*"))
        self._all = "*" in names
        self._below = tuple(name[1:] for name in names if name.startswith("*."))

    def __contains__(self, name: object) -> bool:
        if not isinstance(name, str):
            return False
        return self._all or name in self._names or name.endswith(self._below)

    def __str__(self) -> str:
        below = {f"*{name}" for name in self._below}
        return ", ".join(sorted(self._names | below | ({"*"} if self._all else set())))


def is_this_machine(host: str) -> bool:
    """Return whether a host is a loopback address or `localhost`; other names are not resolved."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def is_inner(name: str) -> bool:
    """Return whether a name can't be made to resolve to this machine by others (DNS rebinding).

    An address is not resolved, and a name without a dot is not in the public DNS.
    """
    if "." not in name:
        return True
    try:
        ip_address(name.strip("[]"))
    except ValueError:
        return False
    return True
