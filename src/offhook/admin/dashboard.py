"""The dashboard's HTTP endpoints: pages, their event streams, and operators' actions."""

import asyncio
import hmac
import re
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from offhook.admin.inbox import listing, select
from offhook.admin.jobs import Action, Jobs, act
from offhook.admin.overview import overview
from offhook.admin.pages import HERE, Pages
from offhook.admin.query import InboxQuery
from offhook.admin.samples import PERIOD, Sample, Sampler, TakeSnapshot
from offhook.admin.streams import BuildView, Cached, Streams, View
from offhook.admin.timeline import may, timeline
from offhook.alerts import Alert
from offhook.core.forms import parameters
from offhook.core.lifecycle import State, Trigger
from offhook.errors import ConfigurationError, StoreError
from offhook.settings import Settings
from offhook.stores.api import Filter, Record, Store
from offhook.web.design import PATH as DESIGN
from offhook.web.design import Assets

PATH: Final = "/dashboard"

CSRF: Final = "offhook.csrf"
"""The scope key of the CSRF token that forms must carry; set by `Login`."""

_MESSAGES: Final = f"{PATH}/messages"
_JOBS: Final = f"{PATH}/jobs"
_MAX_FORM: Final = 4096  # bytes; it holds a token
_FORM_TIMEOUT: Final = 5.0  # seconds for a form to arrive, as `body_timeout` has it for webhooks
_ID: Final = re.compile(r"[0-9]{1,18}")  # what a store can hold
_OVERVIEW: Final = {
    "verdict": "status.html",
    "tiles": "tiles.html",
    "charts": "charts.html",
    "health": "health.html",
}
_LATEST: Final = 5
_SOON, _SOMETIMES = 0.5, 2.0  # seconds between two updates
_FRESH: Final = {"Cache-Control": "no-store"}


class Dashboard:
    """The dashboard's pages and actions.

    `app` serves `/dashboard` and `/design` without authentication: wrap it in
    `web.local_only.TokenAuth` or `admin.login.Login`.

    Args:
        store: returns the store.
        take_snapshot: see `TakeSnapshot`.
        settings: of the app.
        alerts: returns the raised alerts.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        take_snapshot: TakeSnapshot,
        settings: Settings,
        *,
        alerts: Callable[[], Sequence[Alert]] = tuple,
    ) -> None:
        self._store = store
        self._parked_retention = settings.parked_retention
        self._alerts = alerts
        self._made: tuple[Sample | None, Mapping[str, Any]] = None, {}
        self._sampler = Sampler(take_snapshot)
        self._dead = Cached(self._latest_dead)
        self._parts = {
            "store": "SQLite" if settings.store_file else "PostgreSQL",
            "cache": "Redis" if "redis" in settings.cache.get_secret_value() else "in memory",
        }
        self._jobs = Jobs()
        self._pages = Pages()
        self.render = self._pages.render
        self._streams = Streams(self._pages.render)
        self.app: ASGIApp = Starlette(
            routes=self._routes(),
            exception_handlers={
                ConfigurationError: self._refuse,
                HTTPException: self._say,
                StoreError: self._away,
            },
        )

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Take samples within the context; on exit, end streams and jobs."""
        await asyncio.to_thread(self._pages.prepare)
        sampling = asyncio.create_task(self._sampler.run())
        try:
            yield
        finally:
            sampling.cancel()
            self._streams.close()
            await self._jobs.close()

    def _routes(self) -> list[Route | Mount]:
        message = f"{_MESSAGES}/{{id}}"
        return [
            Route(PATH, self._overview),
            Route(_MESSAGES, self._inbox),
            Route(message, self._message),
            Route(message + "/{doing}", self._act, methods=["POST"]),
            Route(_JOBS, self._begin, methods=["POST"]),
            Route(_JOBS, self._ask),
            Route(_JOBS + "/{id}", self._job),
            Route(_JOBS + "/{id}/stop", self._stop, methods=["POST"]),
            Mount(PATH + "/static", Assets(HERE)),
            Mount(DESIGN, Assets()),
        ]

    async def _overview(self, request: Request) -> Response:
        async def make() -> View:
            if not self._sampler.samples:
                await self._sampler.take()
            dead = await self._dead.get()
            values = {**self._overviewed(), "dead": dead, "parts": self._parts}
            return View("overview.html", _OVERVIEW, values)

        return await self._show(request, make, PERIOD)

    def _overviewed(self) -> Mapping[str, Any]:
        """Return the overview as of the last sample, computed once for all readers."""
        sample = self._sampler.samples[-1]
        if self._made[0] is not sample:
            self._made = (
                sample,
                overview(self._sampler, self._alerts(), parked_retention=self._parked_retention),
            )
        return self._made[1]

    async def _latest_dead(self) -> Sequence[Record]:
        """Return the latest dead messages; none while the store is unavailable."""
        try:
            return await self._store().find(Filter(state=State.DEAD, limit=_LATEST))
        except StoreError:
            return ()

    # The inbox

    async def _inbox(self, request: Request) -> Response:
        asked = InboxQuery.read(request.query_params)
        if asked.id is not None:
            return _to(f"{_MESSAGES}/{asked.id}")

        async def make() -> View:
            found = await listing(self._store(), asked)
            values = {"asked": asked, "listing": found, "busy": self._jobs.busy}
            return View("inbox.html", {"listing": "listing.html"}, values)

        return await self._show(request, make, _SOMETIMES)

    async def _message(self, request: Request) -> Response:
        id_, reveal = _id_of(request), request.query_params.get("reveal") == "1"

        async def make() -> View:
            history = await self._store().show(id_)
            if history is None:
                return _error(HTTPStatus.NOT_FOUND, f"There is no message {id_}.")
            values = {
                "record": history.record,
                "steps": timeline(history),
                "sends": history.sends,
                "behind": history.behind,
                "reveal": reveal,
                "may_replay": may(history.record, Trigger.REPLAY),
                "may_discard": may(history.record, Trigger.DROP),
            }
            return View("message.html", {"message": "history.html"}, values)

        return await self._show(request, make, _SOON)

    async def _act(self, request: Request) -> Response:
        id_, doing = _id_of(request), _doing(request.path_params["doing"])
        await read_form(request)
        if await act(self._store(), doing, id_) is None:
            history = await self._store().show(id_)
            state = "deleted" if history is None else f"now {history.record.state}"
            raise ConfigurationError(f"message {id_} cannot be {doing.done}: it is {state}")
        reveal = "?reveal=1" if request.query_params.get("reveal") == "1" else ""
        return _to(f"{_MESSAGES}/{id_}{reveal}")

    # Many at once

    async def _ask(self, request: Request) -> Response:
        asked, doing = _many(request)
        chosen = await select(self._store(), asked)
        values = {"asked": asked, "doing": doing, "chosen": chosen, "busy": self._jobs.busy}
        return self._page(request, View("bulk.html", {}, values))

    async def _begin(self, request: Request) -> Response:
        form = await read_form(request)
        asked, doing = _many(request)
        asked = replace(asked, before=_seen(form) + 1)
        store = self._store()
        chosen = await select(store, asked)
        job = self._jobs.start(store, doing, chosen.ids)
        return _to(f"{_JOBS}/{job.id}")

    async def _job(self, request: Request) -> Response:
        job = self._jobs.find(request.path_params["id"])
        if job is None:
            text = "This job is no longer known: offhook has restarted since."
            return self._page(request, _error(HTTPStatus.NOT_FOUND, text))

        async def make() -> View:
            return View("job.html", {"job": "progress.html"}, {"job": job})

        return await self._show(request, make, _SOON)

    async def _stop(self, request: Request) -> Response:
        await read_form(request)
        job = self._jobs.find(request.path_params["id"])
        if job is not None:
            job.stop.set()
        return _to(f"{_JOBS}/{request.path_params['id']}")

    # Answers

    async def _show(self, request: Request, make: BuildView, period: float) -> Response:
        """Respond with a page, or with its event stream if the request accepts one."""
        token = csrf_token(request)
        if "text/event-stream" in request.headers.get("accept", ""):
            stream = self._streams.follow(make, period=period, csrf=token)
            return StreamingResponse(stream, media_type="text/event-stream", headers=_FRESH)
        return self._page(request, await make())

    def _page(self, request: Request, view: View) -> Response:
        page = self._pages.render(view.template, **view.values, csrf=csrf_token(request))
        return HTMLResponse(page, view.status, _FRESH)

    async def _refuse(self, request: Request, error: Exception) -> Response:
        text = f"{str(error)[:1].upper()}{str(error)[1:]}."
        return self._page(request, _error(HTTPStatus.BAD_REQUEST, text))

    async def _say(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        answer = self._page(request, _error(error.status_code, error.detail))
        answer.headers.update(error.headers or {})
        return answer

    async def _away(self, request: Request, error: Exception) -> Response:
        text = f"The store cannot be read: {error}."
        return self._page(request, _error(HTTPStatus.SERVICE_UNAVAILABLE, text))


def _error(status: int, text: str) -> View:
    title = HTTPStatus(status).phrase.capitalize()
    return View("error.html", {}, {"title": title, "text": text}, status)


def _many(request: Request) -> tuple[InboxQuery, Action]:
    """Return the selected messages and the action.

    Raises:
        ConfigurationError: the selection is not limited to one state.
    """
    asked = replace(InboxQuery.read(request.query_params), before=None)
    if asked.state is None or (asked.q and not asked.address):
        raise ConfigurationError("select messages by their state, and optionally a phone number")
    return asked, _doing(request.query_params.get("do", ""))


def _seen(form: Mapping[str, str]) -> int:
    """Return the highest number among the messages shown on the confirmation page.

    Raises:
        ConfigurationError: the form does not have it.
    """
    text = form.get("upto", "")
    if not _ID.fullmatch(text):
        raise ConfigurationError("the form does not say which messages were shown: reload the page")
    return int(text)


def _id_of(request: Request) -> int:
    """Return the number of the message that a path names.

    Raises:
        HTTPException: it is not a message number.
    """
    text = request.path_params["id"]
    if not _ID.fullmatch(text):
        raise HTTPException(HTTPStatus.NOT_FOUND, "There is no such message.")
    return int(text)


def _doing(text: str) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise ConfigurationError("a message can be replayed or discarded") from None


def csrf_token(request: Request) -> str:
    """Return the CSRF token of a request; empty behind `TokenAuth`, which checks the origin."""
    return str(request.scope.get(CSRF, ""))


async def read_form(request: Request) -> Mapping[str, str]:
    """Return a form, after checking its CSRF token.

    Raises:
        ConfigurationError: the token is wrong.
        HTTPException: see `read_body`.
    """
    form = parameters(await read_body(request))
    if not hmac.compare_digest(form.get("csrf", "").encode(), csrf_token(request).encode()):
        raise ConfigurationError("this form belongs to another login: go back and reload the page")
    return form


async def read_body(request: Request, *, within: float = _FORM_TIMEOUT) -> bytes:
    """Return the body of a form.

    Args:
        request: the request.
        within: seconds.

    Raises:
        HTTPException: it is too large (413), late (408), or the client disconnected (400).
    """
    body = bytearray()
    try:
        async with asyncio.timeout(within):
            async for chunk in request.stream():
                body += chunk
                if len(body) > _MAX_FORM:
                    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
                    raise HTTPException(status, "The form is too large.")
    except TimeoutError:
        raise HTTPException(
            HTTPStatus.REQUEST_TIMEOUT, "The form did not arrive in time."
        ) from None
    except ClientDisconnect:
        raise HTTPException(HTTPStatus.BAD_REQUEST, "The form is incomplete.") from None
    return bytes(body)


def _to(url: str) -> Response:
    return RedirectResponse(url, HTTPStatus.SEE_OTHER, _FRESH)
