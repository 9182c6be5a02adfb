"""A client of Twilio's REST API for reading and configuration; `TwilioSender` sends messages.

https://www.twilio.com/docs/usage/requests-to-twilio
"""

import copy
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self
from urllib.parse import urlencode, urljoin, urlsplit

from aiohttp import ClientError, encode_basic_auth

from offhook.core.account import Login
from offhook.errors import TwilioError
from offhook.http_session import error_text, open_session, proxy_for, request, timeouts
from offhook.settings import Settings
from offhook.twilio.error_codes import meaning
from offhook.twilio.responses import code_of, object_of, text_of

TIMEOUT: Final = timeouts(connect=5.0, read=10.0, total=20.0)

MAX_PAGES: Final = 100
"""Pages read of a list, of 100 records each."""

PAGE: Final = 100
_LONGEST_PAGE: Final = 2_000_000  # bytes; 100 numbers have 200 kB
_KEEP: Final = 5.0  # seconds for idle connections

# https://www.twilio.com/docs/global-infrastructure/using-the-twilio-rest-api-in-a-non-us-region:
# api.twilio.com, or api.dublin.ie1.twilio.com
_TWILIOS: Final = re.compile(r"(https?://)api(\.(?:[a-z0-9]+\.){0,2}twilio\.com)(?::443)?")


def authorization(login: Login) -> dict[str, str]:
    """Return the header for the REST API."""
    return {"Authorization": encode_basic_auth(*login)}


def is_twilios(api: str) -> bool:
    """Return whether a base URL is Twilio's own, and not a simulator's or a relay's."""
    return _TWILIOS.fullmatch(api) is not None


def host_of(api: str, product: str) -> str:
    """Return the base URL of one of Twilio's products.

    A base that is not Twilio's (a simulator, a relay) serves the paths of all products, which do
    not overlap.

    Args:
        api: OFFHOOK_TWILIO_API.
        product: `api`, `messaging` or `monitor`.
    """
    match = _TWILIOS.fullmatch(api)
    return api if match is None else f"{match[1]}{product}{match[2]}"


class TwilioClient:
    """A client of Twilio's REST API; `async with` closes it.

    Every method raises `TwilioError` if Twilio refuses, is unreachable or sends invalid data.

    Args:
        settings: `twilio_api` and the account's credentials.
        login: another than the settings'.

    Attributes:
        account_sid: of the settings.
        answered_at: the time of the last response by Twilio's clock, as its header has it.
    """

    def __init__(self, settings: Settings, login: Login | None = None) -> None:
        self._api = settings.twilio_api
        self.account_sid = settings.account_sid
        self.answered_at = ""
        self._headers = _headers(login or settings.login)
        self._session = open_session(TIMEOUT, keep=_KEEP, proxy=proxy_for(settings.twilio_api))

    def logged_in(self, login: Login) -> Self:
        """Return a client with another login, over the connections of this one."""
        other = copy.copy(self)
        other._headers = _headers(login)  # noqa: SLF001 - of the same class
        return other

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def get(self, product: str, path: str, **query: str) -> Mapping[str, Any]:
        """Return a resource."""
        following = f"?{urlencode(query)}" if query else ""
        return await self._ask("GET", f"{host_of(self._api, product)}{path}{following}")

    async def post(self, product: str, path: str, fields: Mapping[str, str]) -> Mapping[str, Any]:
        """Update a resource."""
        url = f"{host_of(self._api, product)}{path}"
        return await self._ask("POST", url, data=dict(fields))

    async def post_json(self, product: str, path: str, content: object) -> Mapping[str, Any]:
        """Update one of the few resources that take JSON."""
        url, json_ = f"{host_of(self._api, product)}{path}", {"Content-Type": "application/json"}
        return await self._ask(
            "POST", url, data=json.dumps(content), headers={**self._headers, **json_}
        )

    async def all(
        self, product: str, path: str, key: str, **query: str
    ) -> AsyncIterator[Mapping[str, Any]]:
        """Yield the records of a list, page by page; `key` names it in the response."""
        base = host_of(self._api, product)
        url = f"{base}{path}?{urlencode({'PageSize': PAGE, **query})}"
        for _ in range(MAX_PAGES):
            answer = await self._ask("GET", url)
            records = answer.get(key)
            if not isinstance(records, list):
                raise TwilioError(f"Twilio's answer has no list of {key}")
            for record in records:
                if isinstance(record, dict):
                    yield record
            following = _next_page(answer)
            if not following:
                return
            url = urljoin(base + "/", following)
            # The credentials are sent along.
            if urlsplit(url)[:2] != urlsplit(base)[:2]:
                raise TwilioError("Twilio's next page is on another host")

    async def _ask(self, method: str, url: str, **given: Any) -> Mapping[str, Any]:
        try:
            given = {"headers": self._headers, **given}
            response = await request(self._session, method, url, most=_LONGEST_PAGE, **given)
        except (ClientError, TimeoutError) as error:
            where = urlsplit(url).netloc
            raise TwilioError(f"Twilio was not reached at {where}: {error_text(error)}") from error
        self.answered_at = response.headers.get("Date", "")
        answer = object_of(response.content)
        if response.is_success and answer:
            return answer
        code, status = code_of(answer), response.status
        text = meaning(code, text_of(answer, "message")) or f"Twilio answered {status}"
        if code:
            text = f"{text} (Twilio's error {code})"
        raise TwilioError(text, code=code, status=status)


def _headers(login: Login) -> dict[str, str]:
    return authorization(login) | {"Accept": "application/json"}


def _next_page(answer: Mapping[str, Any]) -> str:
    meta = answer.get("meta")
    following = meta.get("next_page_url") if isinstance(meta, dict) else answer.get("next_page_uri")
    return following if isinstance(following, str) else ""
