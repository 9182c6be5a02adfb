"""The control API of `offhook dev`: send a simulated text, and stream what happens to it."""

import asyncio
import hmac
import json
from collections.abc import AsyncIterator
from typing import Annotated, Final, Literal

from pydantic import BaseModel, Field, ValidationError
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from offhook.dev.conversation import Acknowledged, TextEvent, as_object, follow
from offhook.stores.api import Inbox
from offhook.twilio.simulator import Simulator
from offhook.web.local_only import is_loopback

TOKEN_HEADER: Final = "X-Offhook-Token"  # noqa: S105 - a header's name
TEXTS: Final = "/simulator/texts"

Channel = Literal["sms", "whatsapp", "rcs"]


class SendTextRequest(BaseModel):
    """A text for the simulator to send to the bot.

    Attributes:
        from_: the sender's address.
        to: the recipient; the simulator's own number by default.
        params: webhook parameters to add or replace.
        repeat: how many times to deliver its webhook.
        timeout: seconds to wait for the message to be settled.
    """

    body: str = ""
    from_: str = "+15551230001"
    to: str | None = None
    channel: Channel = "sms"
    media: tuple[str, ...] = ()
    params: dict[str, str] = Field(default_factory=dict)
    repeat: Annotated[int, Field(ge=1, le=1000)] = 1
    timeout: Annotated[float, Field(gt=0, le=3600)] = 60.0


class TextSender:
    """Send simulated texts, and report what happens to them.

    Args:
        simulator: the simulated Twilio.
        inbox: the inbox of the bot's store.
    """

    def __init__(self, simulator: Simulator, inbox: Inbox) -> None:
        self._simulator = simulator
        self._inbox = inbox

    async def text(self, order: SendTextRequest) -> AsyncIterator[TextEvent]:
        """Send a text and yield its events, until it is settled or the timeout has passed."""
        acknowledged = await self._send(order)
        yield acknowledged
        if acknowledged.error is not None:
            return
        try:
            async with asyncio.timeout(order.timeout):
                async for step in follow(self._inbox, acknowledged.sid):
                    yield step
        except TimeoutError:
            return

    async def _send(self, order: SendTextRequest) -> Acknowledged:
        delivered = await self._simulator.text(
            order.body,
            from_=order.from_,
            to=order.to,
            channel=order.channel,
            media=order.media,
            extra=order.params,
            duplicates=order.repeat - 1 or None,
        )
        return Acknowledged.of(delivered)


class ControlApi:
    """The API as an ASGI application, `app`.

    It requires the token and a Host header that names this machine: a web page can resolve its own
    name to this address (DNS rebinding), and a tunnel connects from here too.

    Args:
        texts: sends the texts.
        token: the token of this start.
    """

    def __init__(self, texts: TextSender, token: str) -> None:
        self._texts = texts
        self._token = token.encode()
        self.app = Starlette(routes=[Route(TEXTS, self._text, methods=["POST"])])

    async def _text(self, request: Request) -> Response:
        if not self._is_authorized(request):
            return PlainTextResponse("missing or wrong token", 403)
        try:
            order = SendTextRequest.model_validate_json(await request.body())
        except ValidationError as error:
            problems = "; ".join(
                f"{'.'.join(map(str, one['loc']))} is not valid" for one in error.errors()
            )
            return PlainTextResponse(problems, 400)
        return StreamingResponse(self._lines(order), media_type="application/x-ndjson")

    async def _lines(self, order: SendTextRequest) -> AsyncIterator[str]:
        async for step in self._texts.text(order):
            yield json.dumps(as_object(step)) + "\n"

    def _is_authorized(self, request: Request) -> bool:
        given = request.headers.get(TOKEN_HEADER, "").encode("latin-1")
        return is_loopback(request.headers.get("Host", "")) and hmac.compare_digest(
            given, self._token
        )
