"""Call other servers: once, without redirects and cookies, and reading no more than was bounded.

https://docs.aiohttp.org/en/stable/client_reference.html
"""

import math
import os
import re
import ssl
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit
from urllib.request import getproxies, proxy_bypass

from aiohttp import (
    ClientConnectionError,
    ClientConnectorError,
    ClientError,
    ClientRequest,
    ClientResponse,
    ClientResponseError,
    ClientSession,
    ClientTimeout,
    DummyCookieJar,
    StreamReader,
    TCPConnector,
)
from aiohttp.connector import Connection
from yarl import URL

from offhook.core.texts import one_line
from offhook.errors import ConfigurationError

MAX_BYTES: Final = 64 * 1024
"""Bytes of an answer that are read: Twilio's on one message have 1 kB, and of a webhook's answer it
reads no more itself (https://www.twilio.com/docs/api/errors/11750)."""

_WORDS: Final = 200  # characters of an error, which may quote what could not be read
_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# A Python that was built elsewhere may look for them where this system has none:
# https://github.com/sethmlarson/truststore/blob/main/src/truststore/_openssl.py
_FILES: Final = (
    Path("/etc/ssl/cert.pem"),
    Path("/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem"),
    Path("/etc/pki/tls/cert.pem"),
    Path("/etc/ssl/certs/ca-certificates.crt"),
    Path("/etc/ssl/ca-bundle.pem"),
)
_HASHED: Final = re.compile(r"[0-9a-f]{8}\.\d")


class Response(NamedTuple):
    """A response.

    Attributes:
        content: the beginning of its body.
    """

    status: int
    headers: Mapping[str, str]
    content: bytes

    @property
    def is_success(self) -> bool:
        """Whether it is a 2xx."""
        return self.status in range(200, 300)


class StaleConnectionError(ClientConnectionError):
    """A kept connection was closed, or had an answer, before there was a request to it.

    Nothing was sent.
    """


class _Request(ClientRequest):
    """A request that leaves a connection alone on which something has come already.

    A proxy may say why it closes, such as 408; aiohttp would take that for our answer.
    """

    async def send(self, conn: Connection) -> ClientResponse:
        if conn.closed or conn.protocol is None or conn.protocol.should_close:
            raise StaleConnectionError
        return await super().send(conn)


def timeouts(*, connect: float, read: float, total: float | None = None) -> ClientTimeout:
    """Return the timeouts of a request, in seconds.

    Args:
        connect: until there is a connection, with TLS.
        read: between two packets, so an answer that comes byte by byte never meets it.
        total: for all of it.
    """
    return ClientTimeout(total=total, connect=connect, sock_read=read, ceil_threshold=math.inf)


def open_session(
    timeout: ClientTimeout,
    *,
    keep: float = 0.0,
    most: int = 0,
    proxy: str | None = None,
    headers: Mapping[str, str] | None = None,
    compressed: bool = False,
) -> ClientSession:
    """Return a session within a running event loop; to be closed.

    Args:
        timeout: of each request.
        keep: the seconds that idle connections are kept; 0 for a new one each time.
        most: connections at once; 0 for any number.
        proxy: the URL of an HTTP proxy.
        headers: of every request.
        compressed: whether responses may be. An encoding that was not asked for is not decoded:
            it could expand to any size.
    """
    reuse: dict[str, Any] = {"keepalive_timeout": keep} if keep else {"force_close": True}
    session = ClientSession(
        connector=TCPConnector(ssl=_authorities(), limit=most, **reuse),
        cookie_jar=DummyCookieJar(),
        request_class=_Request,
        timeout=timeout,
        proxy=proxy,
        headers=headers if compressed else {**(headers or {}), "Accept-Encoding": "identity"},
        auto_decompress=compressed,
        trust_env=False,  # it would read the environment in a thread for each request
    )
    # It would repeat a GET whose connection broke. There is no argument for it.
    session._retry_connection = False  # noqa: SLF001
    return session


async def request(
    session: ClientSession, method: str, url: str | URL, *, most: int = MAX_BYTES, **given: Any
) -> Response:
    """Make a request, and read its response up to `most` bytes.

    The connection of a response that is longer is closed.

    Args:
        session: of `open_session`.
        method: of HTTP.
        url: of the resource.
        most: a bound, in bytes.
        given: as of `ClientSession.request`.

    Raises:
        ClientError: there was no response, or half of one.
        TimeoutError: the response took too long.
    """
    async with session.request(method, url, allow_redirects=False, **given) as response:
        content = await _beginning(response.content, most)
        return Response(response.status, response.headers, content)


def is_elsewhere(url: str) -> bool:
    """Return whether a URL may need the environment's proxy: not on this machine."""
    return urlsplit(url).hostname not in _THIS_MACHINE


def proxy_for(url: str) -> str | None:
    """Return the proxy that the environment has for a URL: `HTTPS_PROXY`, `NO_PROXY` and so on.

    Raises:
        ConfigurationError: it is no HTTP proxy.
    """
    parts = urlsplit(url)
    if not is_elsewhere(url) or proxy_bypass(parts.netloc.rpartition("@")[2]):
        return None
    proxies = getproxies()
    proxy = proxies.get(parts.scheme) or proxies.get("all")
    if not proxy:
        return None
    scheme, colon, _ = proxy.partition("://")
    if not colon:
        return f"http://{proxy}"
    if scheme not in {"http", "https"}:
        raise ConfigurationError(f"the proxy for {parts.scheme} is a {scheme} proxy: use HTTP's")
    return proxy


def error_text(error: Exception) -> str:
    """Describe why there was no response, without a word of the request or a proxy's password."""
    match error:
        case ClientConnectorError():
            text = str(error.os_error)
        case ClientResponseError():
            text = f"{error.status} {error.message}"
        case OSError(errno=int(number)):
            text = os.strerror(number)
        case ClientError():
            text = ""
        case _:
            text = str(error)
    return one_line(f"{type(error).__name__} {text}".rstrip(), _WORDS)


@cache
def _authorities() -> ssl.SSLContext | Literal[True]:
    """Return the system's authorities, or those of SSL_CERT_FILE and SSL_CERT_DIR.

    True stands for the context that aiohttp has loaded already, which takes 20 ms and 1 MB.
    """
    paths = ssl.get_default_verify_paths()
    if paths.cafile or (paths.capath and _has_certificates(Path(paths.capath))):
        return True
    file = next((file for file in _FILES if file.is_file()), None)
    return ssl.create_default_context(cafile=file) if file else True


def _has_certificates(folder: Path) -> bool:
    return any(_HASHED.fullmatch(file.name) for file in folder.iterdir())


async def _beginning(stream: StreamReader, most: int) -> bytes:
    content = b""
    while len(content) < most and not stream.at_eof():
        content += await stream.read(most - len(content))
    return content
