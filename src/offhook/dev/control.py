"""The control API of `offhook dev`: texts to be sent, and what became of them, line by line."""

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
    """A text that a simulated person shall send.

    Attributes:
        from_: who sends it.
        to: the number written to; the simulator's own by default.
        params: parameters of the webhook to add, or to change.
        repeat: how often its webhook is delivered.
        timeout: seconds to wait for what becomes of it.
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
    """Has the simulator send texts, and tells what becomes of them.

    Args:
        simulator: the simulated Twilio.
        inbox: of the bot's store.
    """

    def __init__(self, simulator: Simulator, inbox: Inbox) -> None:
        self._simulator = simulator
        self._inbox = inbox

    async def text(self, order: SendTextRequest) -> AsyncIterator[TextEvent]:
        """Send a text; yield what becomes of it. It ends early when the order's time is up."""
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

    It answers only to who knows the token, and only when it was called by a name of this machine:
    a page in a browser can have its own name lead here, and a tunnel arrives from here too.

    Args:
        desk: does what is asked.
        token: of this start.
    """

    def __init__(self, desk: TextSender, token: str) -> None:
        self._desk = desk
        self._token = token.encode()
        self.app = Starlette(routes=[Route(TEXTS, self._text, methods=["POST"])])

    async def _text(self, request: Request) -> Response:
        if not self._knows(request):
            return PlainTextResponse("not for you", 403)
        try:
            order = SendTextRequest.model_validate_json(await request.body())
        except ValidationError as error:
            problems = "; ".join(f"{one['loc']}: {one['msg']}" for one in error.errors())
            return PlainTextResponse(problems, 400)
        return StreamingResponse(self._lines(order), media_type="application/x-ndjson")

    async def _lines(self, order: SendTextRequest) -> AsyncIterator[str]:
        async for step in self._desk.text(order):
            yield json.dumps(as_object(step)) + "\n"

    def _knows(self, request: Request) -> bool:
        given = request.headers.get(TOKEN_HEADER, "").encode("latin-1")
        return is_loopback(request.headers.get("Host", "")) and hmac.compare_digest(
            given, self._token
        )
