"""The dashboard's HTTP endpoints: pages, their event streams, and operators' actions."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from http import HTTPStatus
from typing import Any, Final

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Mount, Route
from starlette.types import ASGIApp

from offhook.admin.answers import Answers, error_view
from offhook.admin.conversation import conversation_of
from offhook.admin.discards import Discards
from offhook.admin.forms import PATH, id_of, read_form, redirect, seen
from offhook.admin.inbox import error_groups, listing, select
from offhook.admin.jobs import PATH as _JOBS
from offhook.admin.jobs import Action, Jobs, act
from offhook.admin.outbox import CANCELLED, RETRIED, OutboxPages
from offhook.admin.overview import overview
from offhook.admin.pages import HERE, Pages
from offhook.admin.query import InboxQuery
from offhook.admin.samples import PERIOD, Sample, Sampler, TakeSnapshot
from offhook.admin.streams import Cached, View
from offhook.admin.timeline import may, timeline
from offhook.alerts import Alert
from offhook.core.lifecycle import State, Trigger
from offhook.errors import ConfigurationError, StoreError
from offhook.settings import Settings
from offhook.stores.api import Filter, Record, Store
from offhook.web.design import PATH as DESIGN
from offhook.web.design import Assets

__all__ = ["PATH", "Dashboard"]

_MESSAGES: Final = f"{PATH}/messages"
_OVERVIEW: Final = {
    "verdict": "status.html",
    "tiles": "tiles.html",
    "charts": "charts.html",
    "health": "health.html",
}
_LATEST: Final = 5
_UNDO: Final = "undo"  # a discard that is yet to be carried out
_SOON, _SOMETIMES = 0.5, 2.0  # seconds between two updates


class Dashboard:
    """The dashboard's pages and actions.

    `app` serves `/dashboard` and `/design` without authentication: wrap it in
    `web.local_only.TokenAuth` or `admin.login.Login`.

    Args:
        store: returns the store.
        take_snapshot: see `TakeSnapshot`.
        settings: of the app.
        alerts: returns the raised alerts.
        phone: the path of the phone under `offhook dev`; empty without one.
    """

    def __init__(
        self,
        store: Callable[[], Store],
        take_snapshot: TakeSnapshot,
        settings: Settings,
        *,
        alerts: Callable[[], Sequence[Alert]] = tuple,
        phone: str = "",
    ) -> None:
        self._store = store
        self._parked_retention = settings.parked_retention
        self._alerts = alerts
        self._made: tuple[Sample | None, Mapping[str, Any]] = None, {}
        self._sampler = Sampler(take_snapshot)
        self._dead = Cached(self._latest_dead)
        self._errors = Cached(lambda: error_groups(self._store()))
        self._parts = {
            "store": "SQLite" if settings.store_file else "PostgreSQL",
            "cache": "Redis" if "redis" in settings.cache.get_secret_value() else "in memory",
        }
        self._jobs = Jobs()
        self._discards = Discards(store)
        self._pages = Pages(phone)
        self.render = self._pages.render
        self._answers = Answers(self._pages)
        self._outbox = OutboxPages(store, self._jobs, self._answers)
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
            self._answers.close()
            await self._jobs.close()
            await self._discards.close()

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
            *self._outbox.routes(),
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

        return await self._answers.show(request, make, PERIOD)

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
            return redirect(f"{_MESSAGES}/{asked.id}")

        async def make() -> View:
            found = await listing(self._store(), asked)
            grouped = asked.state is State.DEAD and not (asked.q or asked.error or asked.before)
            values = {
                "asked": asked,
                "listing": found,
                "busy": self._jobs.busy,
                "errors": await self._errors.get() if grouped else None,
            }
            return View("inbox.html", {"listing": "listing.html"}, values)

        return await self._answers.show(request, make, _SOMETIMES)

    async def _message(self, request: Request) -> Response:
        id_, reveal = id_of(request), request.query_params.get("reveal") == "1"

        async def make() -> View:
            history = await self._store().show(id_)
            if history is None:
                return error_view(HTTPStatus.NOT_FOUND, f"There is no message {id_}.")
            values = {
                "record": history.record,
                "steps": timeline(history),
                "conversation": await conversation_of(self._store(), history.record),
                "sends": history.sends,
                "behind": history.behind,
                "reveal": reveal,
                "may_retry": RETRIED,
                "may_cancel": CANCELLED,
                "may_replay": may(history.record, Trigger.REPLAY),
                "may_discard": may(history.record, Trigger.DROP),
                "discarding": id_ in self._discards,
            }
            return View("message.html", {"message": "history.html"}, values)

        return await self._answers.show(request, make, _SOON)

    async def _act(self, request: Request) -> Response:
        id_, doing = id_of(request), request.path_params["doing"]
        await read_form(request)
        waited = id_ in self._discards
        self._discards.undo(id_)
        if doing != _UNDO:
            await self._carry_out(_doing(doing), id_, at_once=waited)
        reveal = "?reveal=1" if request.query_params.get("reveal") == "1" else ""
        return redirect(f"{_MESSAGES}/{id_}{reveal}")

    async def _carry_out(self, doing: Action, id_: int, *, at_once: bool) -> None:
        """Act on a message; a discard waits for a moment unless it is to be at once.

        Raises:
            ConfigurationError: its state does not allow that.
        """
        if doing is Action.DISCARD and not at_once and await self._discards.begin(id_):
            return
        if await act(self._store(), doing, id_) is None:
            history = await self._store().show(id_)
            state = "deleted" if history is None else f"now {history.record.state}"
            raise ConfigurationError(f"message {id_} cannot be {doing.done}: it is {state}")

    # Many at once

    async def _ask(self, request: Request) -> Response:
        asked, doing = _many(request)
        chosen = await select(self._store(), asked)
        values = {"asked": asked, "doing": doing, "chosen": chosen, "busy": self._jobs.busy}
        return self._answers.page(request, View("bulk.html", {}, values))

    async def _begin(self, request: Request) -> Response:
        form = await read_form(request)
        asked, doing = _many(request)
        asked = replace(asked, before=seen(form) + 1)
        store = self._store()
        chosen = await select(store, asked)
        job = self._jobs.start(store, doing, chosen.ids)
        return redirect(f"{_JOBS}/{job.id}")

    async def _job(self, request: Request) -> Response:
        job = self._jobs.find(request.path_params["id"])
        if job is None:
            text = "This job is no longer known: offhook has restarted since."
            return self._answers.page(request, error_view(HTTPStatus.NOT_FOUND, text))

        async def make() -> View:
            return View("job.html", {"job": "progress.html"}, {"job": job})

        return await self._answers.show(request, make, _SOON)

    async def _stop(self, request: Request) -> Response:
        await read_form(request)
        job = self._jobs.find(request.path_params["id"])
        if job is not None:
            job.stop.set()
        return redirect(f"{_JOBS}/{request.path_params['id']}")

    # Answers

    async def _refuse(self, request: Request, error: Exception) -> Response:
        text = f"{str(error)[:1].upper()}{str(error)[1:]}."
        return self._answers.page(request, error_view(HTTPStatus.BAD_REQUEST, text))

    async def _say(self, request: Request, error: Exception) -> Response:
        if not isinstance(error, HTTPException):
            raise error
        answer = self._answers.page(request, error_view(error.status_code, error.detail))
        answer.headers.update(error.headers or {})
        return answer

    async def _away(self, request: Request, error: Exception) -> Response:
        text = f"The store cannot be read: {error}."
        return self._answers.page(request, error_view(HTTPStatus.SERVICE_UNAVAILABLE, text))


def _many(request: Request) -> tuple[InboxQuery, Action]:
    """Return the selected messages and the action.

    Raises:
        ConfigurationError: the selection is not limited to one state.
    """
    asked = replace(InboxQuery.read(request.query_params), before=None)
    if asked.state is None or (asked.q and not asked.address):
        raise ConfigurationError("select messages by their state, and optionally a phone number")
    return asked, _doing(request.query_params.get("do", ""))


def _doing(text: str) -> Action:
    for action in (Action.REPLAY, Action.DISCARD):
        if text == action:
            return action
    raise ConfigurationError("a message can be replayed or discarded")
