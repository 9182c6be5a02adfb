"""Fetch, save and delete the files of messages, which Twilio keeps.

https://www.twilio.com/docs/messaging/api/media-resource: a file needs the account's credentials,
and is answered with a redirect to a signed URL of another host, for which they are not meant.
"""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, TypeVar
from urllib.parse import urljoin, urlsplit

from aiohttp import ClientError, ClientResponse
from yarl import URL

from offhook.errors import (
    CredentialsUnavailable,
    MediaDenied,
    MediaError,
    MediaGone,
    MediaNotAllowed,
    MediaTooLarge,
    MediaUnavailable,
)
from offhook.http_session import error_text, open_session, proxy_for, timeouts
from offhook.ports import Logins
from offhook.settings import Settings
from offhook.twilio.client import authorization, is_twilios
from offhook.twilio.logins import SettingsLogin
from offhook.twilio.partial_file import PartialFile

T = TypeVar("T")

TIMEOUT: Final = timeouts(connect=5.0, read=15.0, total=120.0)

PAUSES: Final = (0.5, 1.0, 2.0)
"""Seconds before each further try after a 404: a file may be missing for a second or two after its
webhook (https://github.com/chatwoot/chatwoot/pull/15499)."""

MAX_REDIRECTS: Final = 3
"""Twilio's is followed by one of its storage at times."""

_CHUNK: Final = 64 * 1024  # bytes
_KEEP: Final = 5.0  # seconds for idle connections
_PATH: Final = re.compile(
    r"/2010-04-01/Accounts/(?P<account>AC[0-9a-fA-F]{32})"
    r"/Messages/(?:SM|MM)[0-9a-fA-F]{32}/Media/ME[0-9a-fA-F]{32}"
)
_PHONE: Final = "/phone/media/"
"""Where `offhook dev` serves the files that are attached on its phone, without credentials."""

_DEFAULT_API: Final = "https://api.twilio.com"
_REDIRECTS: Final = frozenset({301, 302, 303, 307, 308})
_DENIALS: Final = frozenset({HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN})
_MISSING: Final = frozenset({HTTPStatus.NOT_FOUND, HTTPStatus.GONE})


class _Place(NamedTuple):
    """A URL that may be requested, with the headers for it."""

    url: str
    headers: Mapping[str, str]


class MediaClient:
    """A client for the files of messages. Made and used on one event loop.

    Credentials are sent to the REST API's own scheme, host and port only, for files of the
    message's account only, and to no host that it redirects to.

    Every method raises a `MediaError` that says what to do.

    Args:
        settings: `twilio_api` and the account's credentials.
        logins: of all accounts; None for the settings'.
        pauses: seconds before each further try after a 404.
    """

    def __init__(
        self,
        settings: Settings,
        logins: Logins | None = None,
        *,
        pauses: Sequence[float] = PAUSES,
    ) -> None:
        self._api = settings.twilio_api
        self._is_twilios = is_twilios(self._api)
        self._logins = logins or SettingsLogin(settings)
        self._pauses = pauses
        self._session = open_session(TIMEOUT, keep=_KEEP)

    async def fetch(self, url: str, account_sid: str, max_bytes: int) -> bytes:
        """Return a file of at most so many bytes."""

        async def read(response: ClientResponse) -> bytes:
            content = bytearray()
            async for chunk in _chunks(response, max_bytes):
                content += chunk
            return bytes(content)

        return await self._get(url, account_sid, read)

    async def save(self, url: str, account_sid: str, path: Path, max_bytes: int) -> None:
        """Write a file of at most so many bytes to the disk: all of it, or nothing.

        Raises:
            OSError: it can't be written.
        """

        async def write(response: ClientResponse) -> None:
            async with PartialFile(path) as file:
                async for chunk in _chunks(response, max_bytes):
                    await file.write(chunk)

        PartialFile.check(path)
        await self._get(url, account_sid, write)

    async def delete(self, url: str, account_sid: str) -> None:
        """Delete a file at Twilio. One that is gone is no error."""
        place = await self._place(url, account_sid)
        if not place.headers:  # under `offhook dev`, the phone's own
            return

        async def deleted() -> None:
            async with self._answer("DELETE", place._replace(url=f"{url}.json")) as response:
                _check(response, is_twilios=True)

        try:
            await self._persist(account_sid, deleted)
        except MediaGone:
            return

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()

    async def _place(self, url: str, account_sid: str) -> _Place:
        """Return where a file is, if credentials may be sent there.

        Raises:
            MediaNotAllowed: they may not.
            MediaUnavailable: the account's credentials are not to be had at present.
        """
        for base in (self._api, *((_DEFAULT_API,) if self._is_twilios else ())):
            match = _PATH.fullmatch(url.removeprefix(base)) if url.startswith(base) else None
            if match is not None and match["account"] == account_sid:
                return _Place(url, await self._authorization(account_sid))
        if not self._is_twilios and url.startswith(f"{self._api}{_PHONE}"):
            return _Place(url, {})
        raise MediaNotAllowed(
            "this URL is not one of the message's account at Twilio, so nothing was requested, and "
            "no credentials were sent: a file is at OFFHOOK_TWILIO_API, under the AccountSid of "
            "its message. Fetch other URLs yourself, without credentials"
        )

    async def _authorization(self, account_sid: str) -> Mapping[str, str]:
        try:
            return authorization(await self._logins.login(account_sid))
        except CredentialsUnavailable as error:
            raise MediaUnavailable(f"the file was not fetched, try again: {error}") from error

    async def _get(
        self, url: str, account_sid: str, take: Callable[[ClientResponse], Awaitable[T]]
    ) -> T:
        place = await self._place(url, account_sid)
        return await self._persist(account_sid, lambda: self._follow(place, take))

    async def _persist(self, account_sid: str, once: Callable[[], Awaitable[T]]) -> T:
        """Try again while a file is missing, which it may be shortly after its webhook."""
        try:
            for pause in self._pauses:
                try:
                    return await once()
                except MediaGone:
                    await asyncio.sleep(pause)
            return await once()
        except MediaDenied:
            self._logins.refused(account_sid)
            raise

    async def _follow(self, place: _Place, take: Callable[[ClientResponse], Awaitable[T]]) -> T:
        for hop in range(MAX_REDIRECTS + 1):
            async with self._answer("GET", place) as response:
                if response.status not in _REDIRECTS:
                    _check(response, is_twilios=hop == 0)
                    return await take(response)
                # From here on without credentials, wherever it leads.
                place = _Place(self._target(place.url, response), {})
        raise MediaUnavailable(f"the file was not fetched: more than {MAX_REDIRECTS} redirects")

    def _target(self, url: str, response: ClientResponse) -> str:
        target = urljoin(url, response.headers.get("Location", ""))
        parts = urlsplit(target)
        if not parts.hostname or parts.scheme not in {"https", urlsplit(self._api).scheme}:
            raise MediaNotAllowed("the file was not fetched: it was redirected to no https:// URL")
        return target

    @asynccontextmanager
    async def _answer(self, method: str, place: _Place) -> AsyncIterator[ClientResponse]:
        try:
            async with self._session.request(
                method,
                URL(place.url, encoded=True),
                headers=place.headers,
                proxy=proxy_for(place.url),
                allow_redirects=False,
            ) as response:
                yield response
        except MediaError:
            raise
        except (ClientError, TimeoutError, ValueError) as error:
            # Not `from error`, which may quote a signed URL that anybody could use.
            reason = error_text(error)
            raise MediaUnavailable(f"there was no whole answer, try again: {reason}") from None


async def _chunks(response: ClientResponse, most: int) -> AsyncIterator[bytes]:
    """Yield the body.

    Raises:
        MediaTooLarge: it has more bytes than wanted, or says so.
    """
    left = most
    if (response.content_length or 0) > most:
        _refuse_size(most)
    async for chunk in response.content.iter_chunked(_CHUNK):
        left -= len(chunk)
        if left < 0:
            _refuse_size(most)
        yield chunk


def _refuse_size(most: int) -> NoReturn:
    raise MediaTooLarge(f"the file has more than {most:,} bytes: give a larger max_bytes")


def _check(response: ClientResponse, *, is_twilios: bool) -> None:
    """Raise what a status means; a 2xx means nothing."""
    status = response.status
    if status in range(200, 300):
        return
    if status in _MISSING:
        raise MediaGone("Twilio does not have this file: it was deleted, there or by a handler")
    if status in _DENIALS and is_twilios:
        raise MediaDenied(
            f"Twilio refused the credentials ({status}). Check TWILIO_ACCOUNT_SID and "
            "TWILIO_AUTH_TOKEN, or TWILIO_API_KEY and TWILIO_API_KEY_SECRET; of another account, "
            "what @app.credentials returns"
        )
    raise MediaUnavailable(f"the file was not fetched, try again: the answer was {status}")
