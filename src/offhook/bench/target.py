"""The server under load: its address, the URL to sign for, and the open files it takes."""

import resource
import ssl
from dataclasses import dataclass
from functools import cache
from typing import Final, Self
from urllib.parse import SplitResult, urlsplit

from offhook.core.hosts import is_this_machine
from offhook.core.urls import MESSAGES_PATH
from offhook.errors import ConfigurationError

_OTHER_FILES: Final = 100  # open files besides the connections


def allow_open_files(connections: int) -> None:
    """Raise the limit of open files for so many connections, in this process and its children.

    Raises:
        ConfigurationError: the hard limit is lower.
    """
    wanted = connections + _OTHER_FILES
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
        host, port: the address to connect to.
        signed_base: scheme and host of the server's public URL, for which requests are signed.
        path: the path of the message webhook, with its query if any.
        tls: whether to use TLS.
    """

    host: str
    port: int
    signed_base: str
    path: str = MESSAGES_PATH
    tls: bool = False

    @classmethod
    def parse(cls, url: str, *, public_url: str = "") -> Self:
        """Parse a URL; one without a path gets offhook's own route.

        Args:
            url: the address to connect to.
            public_url: the server's OFFHOOK_PUBLIC_URL, where it differs.

        Raises:
            ConfigurationError: it is not an http or https URL.
        """
        parts, port = _split(url)
        path = MESSAGES_PATH if parts.path in {"", "/"} else parts.path
        return cls(
            host=parts.hostname or "",
            port=port or (443 if parts.scheme == "https" else 80),
            signed_base=public_url.rstrip("/") or f"{parts.scheme}://{parts.netloc}",
            path=f"{path}?{parts.query}" if parts.query else path,
            tls=parts.scheme == "https",
        )

    @property
    def status_path(self) -> str:
        """The path of the status webhook, next to that of messages."""
        return self.path.partition("?")[0].rpartition("/")[0] + "/status"

    @property
    def url(self) -> str:
        """The URL, for display."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}{self.path}"

    @property
    def is_local(self) -> bool:
        """Whether it is a loopback address or `localhost`; other names are not resolved."""
        return is_this_machine(self.host)

    def context(self) -> ssl.SSLContext | None:
        """Return the TLS context; None without TLS."""
        return _context() if self.tls else None


@cache
def _context() -> ssl.SSLContext:
    """Return the context that all connections share: reading the certificates takes 20 ms."""
    return ssl.create_default_context()


def _split(url: str) -> tuple[SplitResult, int | None]:
    parts = urlsplit(url)
    try:
        port = parts.port
    except ValueError:
        port = -1
    if parts.scheme not in {"http", "https"} or not parts.hostname or port == -1:
        raise ConfigurationError(f"{url} is not a URL like http://127.0.0.1:8000")
    return parts, port
