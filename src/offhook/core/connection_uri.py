"""The URLs of stores, databases and caches. They may hold a password: no error here quotes one."""

import re
from pathlib import Path
from typing import Final, NamedTuple
from urllib.parse import parse_qsl, unquote

_UNSAFE: Final = re.compile(r"[\x00-\x1f\x7f]")
_BARE_PERCENT: Final = re.compile(r"%(?![0-9A-Fa-f]{2})")
# A name, an address, or the path of a socket's directory with its slashes percent-encoded.
_HOST: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+(?:%25[\w.-]+)?\]|[\w.~%-]*)(?::(?P<port>.*))?")
_LAST_PORT: Final = 65535

ESCAPE: Final = (
    "percent-encode reserved characters in the user name and the password: "
    "%25 for %, %40 for @, %2F for /, %3F for ?, %23 for #, %5B for [, %5D for ]"
)


class ConnectionUri(NamedTuple):
    """A URL, split as its drivers split it.

    Attributes:
        user: decoded; empty without one.
        has_password: before the host or among the parameters.
        hosts: one or several with commas, each with its port; empty for a local default.
        path: decoded, without its first slash.
        parameters: the query, not decoded.
    """

    scheme: str
    user: str
    has_password: bool
    hosts: str
    path: str
    parameters: str

    @classmethod
    def parse(cls, url: str) -> "ConnectionUri":
        """Split any text; `problem` validates it."""
        scheme, _, rest = url.partition("://")
        rest, _, parameters = rest.partition("?")
        authority, _, path = rest.partition("/")
        userinfo, _, hosts = authority.rpartition("@")
        user, _, password = userinfo.partition(":")
        named = bool(password) or re.search(r"(^|&)\w*password=.", parameters) is not None
        return cls(scheme, unquote(user), named, hosts, unquote(path), parameters)

    @property
    def shown(self) -> str:
        """The URL for display: without user, password and parameters."""
        return f"{self.scheme}://{self.hosts}/{self.path}"


def sqlite_file(url: str) -> Path | None:
    """Return the file that `sqlite:///relative.db` or `sqlite:////absolute.db` names, absolute.

    None when a URL names no file.
    """
    scheme, _, path = url.partition(":///")
    return Path(path).expanduser().absolute() if scheme == "sqlite" and path else None


def is_postgres(url: str) -> bool:
    """Return whether a URL names a PostgreSQL database."""
    return re.match(r"postgres(ql)?://.", url) is not None


def problem(url: str) -> str:
    """Return why a driver would misread a URL, without quoting it; empty if it is valid.

    An unescaped `/`, `?`, `#` or `@` in a password moves the end of the host: errors of drivers and
    resolvers would then quote a part of the password as the host or port.
    """
    at_signs = url.count("@")
    uri = ConnectionUri.parse(url)
    authority = re.split(r"[/?#]", url.partition("://")[2], maxsplit=1)[0]
    if (
        "#" in url
        or at_signs > 1
        or at_signs != authority.count("@")
        or any(bracket in authority.rpartition("@")[0] for bracket in "[]")
        or _BARE_PERCENT.search(url)
        or _UNSAFE.search(url)
    ):
        return ESCAPE
    several = uri.hosts.split(",")
    for host in several:
        match = _HOST.fullmatch(host)
        if match is None or (len(several) > 1 and not host):
            return "the host can't be read"
        if match["port"] and not _is_port(match["port"]):
            return f"the port must be a number from 1 to {_LAST_PORT}; or {ESCAPE}"
    return _problem_of_parameters(uri.parameters)


def _problem_of_parameters(text: str) -> str:
    try:
        parameters = dict(parse_qsl(text, keep_blank_values=True, strict_parsing=bool(text)))
    except ValueError:
        return f"what follows the ? must be name=value, joined by &; or {ESCAPE}"
    ports = parameters.get("port", "").split(",") if "port" in parameters else []
    if not all(map(_is_port, ports)):
        return f"port= must be a number from 1 to {_LAST_PORT}"
    return ""


def _is_port(text: str) -> bool:
    return re.fullmatch("[0-9]{1,5}", text) is not None and 0 < int(text) <= _LAST_PORT
