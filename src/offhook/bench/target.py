"""Where the load goes, and whether it may."""

import ipaddress
import resource
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from offhook.core.urls import MESSAGES
from offhook.errors import ConfigurationError

_OTHERS: Final = 100  # files that are open besides


def room_for(connections: int) -> None:
    """Let this process, and those it starts, open so many connections.

    Raises:
        ConfigurationError: the system does not allow it.
    """
    wanted = connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = wanted if hard == resource.RLIM_INFINITY else max(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit))
    except (ValueError, OSError) as error:
        raise ConfigurationError(
            f"{connections:,} connections need {wanted:,} open files, and {hard:,} are allowed: "
            "raise `ulimit -n`, or ask for fewer"
        ) from error


@dataclass(frozen=True, slots=True)
class Target:
    """A server under load.

    Attributes:
        host: connections are made to it.
        port: of the host.
        signed_base: scheme and host of the URL that signatures are made for: the server's
            public one.
        path: of the webhook of messages, with the query if it has one.
        tls: whether connections are encrypted.
    """

    host: str
    port: int
    signed_base: str
    path: str = MESSAGES
    tls: bool = False

    @classmethod
    def parse(cls, url: str, *, public_url: str = "") -> Self:
        """Return what a URL means: offhook's own route where only a host is named.

        Args:
            url: connections are made there.
            public_url: what the server believes to be called as, where that is another.

        Raises:
            ConfigurationError: it is no URL.
        """
        parts, port = _split(url)
        path = MESSAGES if parts.path in {"", "/"} else parts.path
        return cls(
            host=parts.hostname or "",
            port=port or (443 if parts.scheme == "https" else 80),
            signed_base=public_url.rstrip("/") or f"{parts.scheme}://{parts.netloc}",
            path=f"{path}?{parts.query}" if parts.query else path,
            tls=parts.scheme == "https",
        )

    @property
    def status_path(self) -> str:
        """Of the webhook of statuses, which is beside that of messages."""
        return self.path.partition("?")[0].rpartition("/")[0] + "/status"

    @property
    def url(self) -> str:
        """Where connections are made to, for people."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether it is this machine, by its address; names but `localhost` are not looked up."""
        try:
            return ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host == "localhost"

    def context(self) -> ssl.SSLContext | None:
        """Return what encrypted connections need."""
        return _context() if self.tls else None


@cache
def _context() -> ssl.SSLContext:
    """Return the one that all connections share: reading the certificates takes 20 ms."""
    return ssl.create_default_context()


def _split(url: str) -> tuple[SplitResult, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise ConfigurationError(f"{url}: write it like http://127.0.0.1:8000")
    return parts, port
