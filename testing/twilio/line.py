"""A simulator on a line to a real, recording server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]  # the SDK has no types

from offhook.twilio.simulator import (
    Credentials,
    Simulator,
)
from testing.plain_http import PlainAsyncClient
from testing.signatures import verify
from testing.twilio.helpers import (
    EMPTY_TWIML,
    Requested,
    Webhook,
    simulator,
    webhook_of,
)

PERSON = "+15551230001"
CREDENTIALS = Simulator.credentials()
OK = (200, "text/xml", EMPTY_TWIML)
FAILED = (500, "text/plain", b"no")
TWO_MESSAGES = (
    b'<?xml version="1.0"?><Response><Message to="+15551239999"><Body> a </Body>'
    b"<Media>https://m/1</Media></Message><Message>b</Message></Response>"
)


@asynccontextmanager
async def on_the_line(
    webhook: Webhook | None = None, **given: Any
) -> AsyncIterator[tuple[Simulator, Webhook]]:
    """Start a simulator that posts to a real, recording server."""
    sim = simulator(**CREDENTIALS._asdict() | given)
    async with asyncio.timeout(60), sim, webhook_of(sim, webhook=webhook) as served:
        yield sim, served


def valid(request: Requested, token: str = CREDENTIALS.auth_token) -> bool:
    """Ask both the official SDK and our own code."""
    url = f"http://{request.headers['host']}{request.target}"
    params = dict(request.form.fields)
    ours = verify(
        url=url,
        method=request.method,
        content_type=request.headers.get("content-type"),
        body=request.body,
        signature=request.signature,
        auth_tokens=[token],
    )
    return bool(RequestValidator(token).validate(url, params, request.signature)) and bool(ours)


async def create(url: str, credentials: Credentials = CREDENTIALS, **fields: Any) -> Any:
    """Send through the REST API as a client does; return the response."""
    given = {"To": PERSON, "From": "+15005550006", "Body": "hello"} | fields
    data = {name: value for name, value in given.items() if value is not None}
    async with PlainAsyncClient(auth=credentials) as client:
        return await client.post(
            f"{url}/2010-04-01/Accounts/{CREDENTIALS.account_sid}/Messages.json", data=data
        )
