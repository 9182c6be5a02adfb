"""A client of Twilio's REST API for reading and configuration; `TwilioSender` sends messages.

https://www.twilio.com/docs/usage/requests-to-twilio
"""

import asyncio
import json
import re
from collections.abc import AsyncIterator, Mapping
from typing import Any, Final, Self
from urllib.parse import urlencode, urljoin, urlsplit

import httpx2

from offhook.errors import TwilioError
from offhook.settings import Settings
from offhook.twilio.error_codes import meaning
from offhook.twilio.responses import IDENTITY, bounded, code_of, error_text, object_of, text_of
from offhook.twilio.tls import tls_context

TIMEOUT: Final = httpx2.Timeout(10.0, connect=5.0)  # seconds
TOTAL_TIMEOUT: Final = 20.0
"""Seconds for a whole response: the timeout counts between packets, so a slow trickle evades it."""

MAX_PAGES: Final = 100
"""Pages read of a list, of 100 records each."""

PAGE: Final = 100
_LONGEST_PAGE: Final = 2_000_000  # bytes; 100 numbers have 200 kB

_THIS_MACHINE: Final = frozenset({"localhost", "127.0.0.1", "::1"})

# https://www.twilio.com/docs/global-infrastructure/using-the-twilio-rest-api-in-a-non-us-region:
# api.twilio.com, or api.dublin.ie1.twilio.com
_TWILIOS: Final = re.compile(r"(https?://)api(\.(?:[a-z0-9]+\.){0,2}twilio\.com)(?::443)?")


def credentials(settings: Settings) -> tuple[str, str]:
    """Return the user and the password for the REST API."""
    if settings.api_key:
        return settings.api_key, settings.api_key_secret.get_secret_value()
    return settings.account_sid, next(iter(settings.auth_tokens), "")


def is_elsewhere(url: str) -> bool:
    """Return whether a URL may need the environment's proxy: not on this machine."""
    return urlsplit(url).hostname not in _THIS_MACHINE


def is_encrypted(url: str) -> bool:
    """Return whether a URL is https."""
    return urlsplit(url).scheme == "https"


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
        auth: other credentials than the settings'.
    """

    def __init__(self, settings: Settings, auth: tuple[str, str] | None = None) -> None:
        self._api = settings.twilio_api
        self.account_sid = settings.account_sid
        elsewhere = is_elsewhere(settings.twilio_api)
        self._client = httpx2.AsyncClient(
            auth=auth or credentials(settings),
            verify=tls_context(encrypted=is_encrypted(settings.twilio_api), trust_env=elsewhere),
            timeout=TIMEOUT,
            follow_redirects=False,
            headers=IDENTITY,
            event_hooks=bounded(_LONGEST_PAGE),
            trust_env=elsewhere,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._client.aclose()

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
        url, headers = f"{host_of(self._api, product)}{path}", {"Content-Type": "application/json"}
        return await self._ask("POST", url, content=json.dumps(content), headers=headers)

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
            async with asyncio.timeout(TOTAL_TIMEOUT):
                response = await self._client.request(
                    method, url, **{"headers": {"Accept": "application/json"}, **given}
                )
        except (httpx2.HTTPError, TimeoutError) as error:
            where = urlsplit(url).netloc
            raise TwilioError(f"Twilio was not reached at {where}: {error_text(error)}") from error
        answer = object_of(response)
        if response.is_success and answer:
            return answer
        code, status = code_of(answer), response.status_code
        text = meaning(code, text_of(answer, "message")) or f"Twilio answered {status}"
        if code:
            text = f"{text} (Twilio's error {code})"
        raise TwilioError(text, code=code, status=status)


def _next_page(answer: Mapping[str, Any]) -> str:
    meta = answer.get("meta")
    following = meta.get("next_page_url") if isinstance(meta, dict) else answer.get("next_page_uri")
    return following if isinstance(following, str) else ""
