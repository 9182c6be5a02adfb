"""The phone over HTTP: the page, its parts, the stream of changes, and actions."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from pathlib import Path
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import (
    HTMLResponse,
    JSONResponse,
    PlainTextResponse,
    Response,
    StreamingResponse,
)
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from offhook.conversations.state import shown
from offhook.core.keys import Kind
from offhook.dev.phone.actions import ActiveFaults, PhoneActions
from offhook.dev.phone.attachments import MAX_BYTES, Attachments, StoredFile
from offhook.dev.phone.bubbles import Bubble, Incoming
from offhook.dev.phone.journal import Journal, Position
from offhook.dev.phone.pages import HERE, Pages, Standing
from offhook.dev.phone.requests import (
    ContactRequest,
    FaultRequest,
    ReachabilityRequest,
    RepeatRequest,
    RetryRequest,
    TextRequest,
)
from offhook.dev.phone.snapshot import Snapshot, SnapshotEntry, read
from offhook.errors import ConfigurationError, StoreError
from offhook.events import Event as AppEvent
from offhook.stores.api import Filter, Store
from offhook.twilio.simulator import (
    Delivered,
    Outbound,
    RestCall,
    Simulator,
    StatusCallback,
    Texted,
    TypingShown,
)
from offhook.twilio.simulator import Event as LineEvent
from offhook.web.design import PATH as DESIGN
from offhook.web.design import Assets
from offhook.web.local_only import LocalOnly, TokenAuth, is_local

PATH: Final = "/phone"

_MAX_ORDER: Final = 64 * 1024  # bytes; the longest text with ten media takes a fifth of it
_RETRY: Final = 500  # ms until a browser reconnects to the stream
_FRESH: Final = {"Cache-Control": "no-store"}


class Phone:
    """The page for texting the bot.

    `app` serves `/phone` and `/design`, with the token only (see `TokenAuth`).

    Args:
        simulator: sends the messages.
        store: the bot's.
        url: the base URL at which the bot fetches attachments.
        token: the token of this start.
    """

    def __init__(self, simulator: Simulator, store: Store, *, url: str, token: str) -> None:
        media = f"{url}{PATH}/media"
        self._store = store
        self._simulator = simulator
        self._changes = Journal()
        self._switchboard = PhoneActions(simulator, self._changes)
        self._book = self._switchboard.book
        self._attachments = Attachments(media)
        self._memories = Snapshot()
        self._pages = Pages(self._book, lambda: self._switchboard.setting.on, f"{media}/")
        pages = Starlette(routes=self._routes(), exception_handlers={ConfigurationError: _refuse})
        self.app: ASGIApp = Starlette(
            routes=[
                # The bot fetches these without a cookie; their URLs can't be guessed.
                Route(PATH + "/media/{key}/{name}", self._media),
                Mount(DESIGN, LocalOnly(Assets())),  # for the page of who has no token, too
                Mount("/", TokenAuth(pages, token)),
            ]
        )

    def hear(self, event: AppEvent) -> None:
        """Process an event of offhook; an observer for `Offhook.observe`."""
        self._hear_app(event, time.time())

    @asynccontextmanager
    async def listening(self, memory: Path | None = None) -> AsyncIterator[None]:
        """Follow the simulator's events within the context; disconnect all browsers at its end.

        Args:
            memory: the file that keeps the conversations across reloads.
        """
        for event, at in read(memory) if memory else ():
            self._remember(event, at)
        # Before serving: later, it would delay the bot's own requests by 0.1 s.
        await asyncio.to_thread(self._pages.prepare)
        with self._simulator.listening(self._hear_line):
            try:
                yield
            finally:
                self._changes.close()
                await self._switchboard.close()
                if memory:
                    self._memories.write(memory, self._switchboard.setting, self._attachments.files)

    def _hear_line(self, event: LineEvent) -> None:
        self._memories.keep(event)
        self._book.hear_line(event)

    def _hear_app(self, event: AppEvent, at: float) -> None:
        self._memories.keep(event, at)
        self._book.hear_app(event, at)

    def _remember(self, event: SnapshotEntry, at: float) -> None:
        match event:
            case ActiveFaults():
                self._switchboard.make_trouble(event)
            case StoredFile():
                self._attachments.restore(event)
            case Texted():
                self._simulator.recall(event)
                self._hear_line(event)
            case Delivered() | Outbound() | RestCall() | StatusCallback() | TypingShown():
                self._hear_line(event)
            case _:
                self._hear_app(event, at)

    def _routes(self) -> list[Route | Mount]:
        return [
            Route(PATH, self._page),
            Route(PATH + "/conversations/{id}", self._conversation),
            Route(PATH + "/lines/{id}", self._line),
            Route(PATH + "/events", self._events),
            Route(PATH + "/texts", self._text, methods=["POST"]),
            Route(PATH + "/repeats", self._repeat, methods=["POST"]),
            Route(PATH + "/people", self._meet, methods=["POST"]),
            Route(PATH + "/crowd", self._crowd, methods=["POST"]),
            Route(PATH + "/switches", self._switch, methods=["POST"]),
            Route(PATH + "/reach", self._reach, methods=["POST"]),
            Route(PATH + "/retries", self._retry, methods=["POST"]),
            Route(PATH + "/attachments", self._attach, methods=["POST"]),
            Mount(PATH + "/static", Assets(HERE)),
        ]

    async def _page(self, request: Request) -> Response:
        # The position first: a change while the page is rendered is then sent again.
        position = self._changes.position
        wanted = self._book.find(request.query_params.get("with", ""))
        bubble = self._book.bubble(request.query_params.get("line", ""))
        home = self._book.home(bubble) if bubble else self._book.conversations[0]
        conversation = wanted or home
        standing = await self._standing(bubble)
        return _html(self._pages.page(conversation, bubble, position, standing))

    async def _conversation(self, request: Request) -> Response:
        found = self._book.find(request.path_params["id"])
        return _html(self._pages.conversation(found)) if found else _gone()

    async def _line(self, request: Request) -> Response:
        found = self._book.bubble(request.path_params["id"])
        if found is None:
            return _gone()
        standing = await self._standing(found)
        return _html(self._pages.line(self._book.home(found), found, standing))

    async def _standing(self, bubble: Bubble | None) -> Standing | None:
        """Return what the store has of a message; None if it is not there or unreadable."""
        if not isinstance(bubble, Incoming):
            return None
        try:
            found = await self._store.find(Filter(kind=Kind.MESSAGE, sid=bubble.id, limit=1))
            history = await self._store.show(found[0].id) if found else None
            if history is None:
                return None
            saved = await self._store.saved_state(history.record.lane)
        except StoreError:
            return None
        return Standing(history, shown(b"" if saved is None else saved.value))

    async def _events(self, request: Request) -> Response:
        after = request.headers.get("last-event-id") or request.query_params.get("after", "")
        stream = self._stream(Position.parse(after))
        return StreamingResponse(stream, media_type="text/event-stream", headers=_FRESH)

    async def _stream(self, position: Position) -> AsyncIterator[str]:
        yield f"retry: {_RETRY}\n\n"
        async for reached, changes in self._changes.follow(position):
            if changes is None:
                yield _event("reset", {}, reached)
                continue
            shown = ((change.kind, self._pages.change(change)) for change in changes)
            events = "".join(
                _event(kind, data, reached) for kind, data in shown if data is not None
            )
            yield events or ":\n\n"

    async def _text(self, request: Request) -> Response:
        self._switchboard.text(TextRequest.read(await _body(request)))
        return Response(status_code=HTTPStatus.ACCEPTED)

    async def _repeat(self, request: Request) -> Response:
        self._switchboard.repeat(RepeatRequest.read(await _body(request)))
        return Response(status_code=HTTPStatus.ACCEPTED)

    async def _crowd(self, _request: Request) -> Response:
        self._switchboard.crowd()
        return Response(status_code=HTTPStatus.ACCEPTED)

    async def _meet(self, request: Request) -> Response:
        met = self._switchboard.meet(ContactRequest.read(await _body(request)))
        return JSONResponse({"conversation": met.id}, HTTPStatus.CREATED)

    async def _switch(self, request: Request) -> Response:
        self._switchboard.switch(FaultRequest.read(await _body(request)))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _reach(self, request: Request) -> Response:
        self._switchboard.reach(ReachabilityRequest.read(await _body(request)))
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _retry(self, request: Request) -> Response:
        order = RetryRequest.read(await _body(request))
        if not await self._store.replay(order.message):
            raise ConfigurationError("this message is no longer waiting")
        return Response(status_code=HTTPStatus.NO_CONTENT)

    async def _attach(self, request: Request) -> Response:
        content = await _body(request, MAX_BYTES)
        url = self._attachments.keep(request.query_params.get("name", "file"), content)
        return JSONResponse({"url": url}, HTTPStatus.CREATED)

    async def _media(self, request: Request) -> Response:
        return self._attachments.answer(request) if is_local(request) else _gone()


async def _body(request: Request, limit: int = _MAX_ORDER) -> bytes:
    """Return a request's body.

    Raises:
        HTTPException: it is longer than the limit.
    """
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > limit:
            raise HTTPException(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {limit} bytes\n")
    return bytes(body)


def _event(kind: str, data: Mapping[str, Any], position: Position) -> str:
    """Return a server-sent event.

    https://html.spec.whatwg.org/multipage/server-sent-events.html
    """
    return f"event: {kind}\nid: {position}\ndata: {json.dumps(data)}\n\n"


def _html(text: str) -> Response:
    return HTMLResponse(text, headers=_FRESH)


def _gone() -> Response:
    return PlainTextResponse("not found\n", HTTPStatus.NOT_FOUND, _FRESH)


async def _refuse(_request: Request, error: Exception) -> Response:
    return PlainTextResponse(f"{error}\n", HTTPStatus.BAD_REQUEST, _FRESH)
