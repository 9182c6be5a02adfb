"""The replies: what waits, was refused or was not delivered, and operators' actions on it."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final, Self
from urllib.parse import urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from offhook.admin.answers import Answers
from offhook.admin.forms import PATH as DASHBOARD
from offhook.admin.forms import id_of, read_form, redirect, seen
from offhook.admin.jobs import PATH as _JOBS
from offhook.admin.jobs import Action, Jobs, act
from offhook.admin.streams import View
from offhook.core.lifecycle import SendState, SendTrigger, send_sources
from offhook.errors import ConfigurationError
from offhook.stores.api import Outbox, SendFilter, SendRecord, Store
from offhook.stores.bulk import choose, find_sends, sends

PATH: Final = f"{DASHBOARD}/sends"

RETRIED: Final = send_sources(SendTrigger.RETRY) | send_sources(SendTrigger.REPLACE)
"""The states in which a reply can be sent again."""
CANCELLED: Final = send_sources(SendTrigger.CANCEL) | send_sources(SendTrigger.DISMISS)
"""The states in which a reply can be cancelled."""

_PAGE: Final = 50
_NO_LIMIT: Final = 2**31
_SOMETIMES: Final = 2.0  # seconds between two updates
_CODE: Final = re.compile(r"\d{5,6}")
_MAX_QUERY: Final = 200  # characters


@dataclass(frozen=True, slots=True)
class SendsQuery:
    """A query of the replies.

    Attributes:
        q: as it was typed: the number of a person, or an error code of Twilio's.
        reveal: show phone numbers and texts.
    """

    q: str = ""
    state: SendState | None = None
    code: str = ""
    before: int | None = None
    reveal: bool = False

    @classmethod
    def read(cls, query: Mapping[str, str]) -> Self:
        """Read a query.

        Raises:
            ConfigurationError: it has an unknown value.
        """
        get = query.get
        q, code = get("q", "").strip()[:_MAX_QUERY], get("code", "")[:_MAX_QUERY]
        if _CODE.fullmatch(q):
            q, code = "", q
        try:
            return cls(
                q=q,
                state=SendState(get("state", "")) if get("state") else None,
                code=code,
                before=int(get("before", "")[:18]) if get("before") else None,
                reveal=get("reveal") == "1",
            )
        except ValueError:
            raise ConfigurationError("the URL of this page holds an unknown filter") from None

    def filter(self, *, limit: int) -> SendFilter:
        """Return the filter."""
        return SendFilter(
            state=self.state, code=self.code, to=self.q, before_id=self.before, limit=limit
        )

    def query(self, **changes: Any) -> str:
        """Return this query's URL parameters with changes; a change to None removes one."""
        asked: dict[str, Any] = {
            "q": self.q,
            "state": self.state,
            "code": self.code,
            "reveal": "1" if self.reveal else None,
            **changes,
        }
        return urlencode({name: str(value) for name, value in asked.items() if value})


@dataclass(frozen=True, slots=True)
class SendsListing:
    """A page of replies.

    Attributes:
        before: where the next page begins; None on the last page.
    """

    records: Sequence[SendRecord]
    before: int | None


async def listing(outbox: Outbox, asked: SendsQuery) -> SendsListing:
    """Return a page of matching replies, newest first.

    Raises:
        StoreError: the store cannot be read.
    """
    records = await find_sends(outbox, asked.filter(limit=_PAGE + 1))
    more = len(records) > _PAGE
    return SendsListing(records[:_PAGE], records[_PAGE - 1].id if more else None)


class OutboxPages:
    """The pages about replies.

    Args:
        store: returns the store.
        jobs: act on many.
        answers: responds.
    """

    def __init__(self, store: Callable[[], Store], jobs: Jobs, answers: Answers) -> None:
        self._store = store
        self._jobs = jobs
        self._answers = answers

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            Route(PATH, self._list),
            Route(PATH + "/all", self._ask),
            Route(PATH + "/all", self._begin, methods=["POST"]),
            Route(PATH + "/{id}/{doing}", self._act, methods=["POST"]),
        ]

    async def _list(self, request: Request) -> Response:
        asked = SendsQuery.read(request.query_params)

        async def make() -> View:
            found = await listing(self._store(), asked)
            values = {
                "asked": asked,
                "listing": found,
                "busy": self._jobs.busy,
                "retried": RETRIED,
                "cancelled": CANCELLED,
            }
            return View("sends.html", {"listing": "sends_listing.html"}, values)

        return await self._answers.show(request, make, _SOMETIMES)

    async def _act(self, request: Request) -> Response:
        id_, doing = id_of(request), _doing(request.path_params["doing"])
        await read_form(request)
        store = self._store()
        record = await store.show_send(id_)
        if record is None or await act(store, doing, id_) is None:
            state = "deleted" if record is None else f"{record.state}, or its text was not kept"
            raise ConfigurationError(f"reply {id_} cannot be {doing.done}: it is {state}")
        message = str(max(record.message_id, 0) or request.query_params.get("message", ""))
        if not (message.isascii() and message.isdecimal()):  # it answers none
            return redirect(PATH)
        reveal = "?reveal=1" if request.query_params.get("reveal") == "1" else ""
        return redirect(f"{DASHBOARD}/messages/{message}{reveal}")

    # Many at once

    async def _ask(self, request: Request) -> Response:
        asked, doing = _many(request)
        chosen = await choose(sends(self._store(), asked.filter(limit=_NO_LIMIT)))
        values = {"asked": asked, "doing": doing, "chosen": chosen, "busy": self._jobs.busy}
        return self._answers.page(request, View("sends_bulk.html", {}, values))

    async def _begin(self, request: Request) -> Response:
        form = await read_form(request)
        asked, doing = _many(request)
        asked = replace(asked, before=seen(form) + 1)
        store = self._store()
        chosen = await choose(sends(store, asked.filter(limit=_NO_LIMIT)))
        if asked.state is SendState.UNKNOWN and doing is Action.RETRY:
            doing = Action.RETRY_UNKNOWN  # the page that was confirmed has said so
        job = self._jobs.start(store, doing, chosen.ids)
        return redirect(f"{_JOBS}/{job.id}")


def _many(request: Request) -> tuple[SendsQuery, Action]:
    """Return the selected replies and the action.

    Raises:
        ConfigurationError: the selection is not limited to one state that allows the action.
    """
    asked = replace(SendsQuery.read(request.query_params), before=None)
    doing = _doing(request.query_params.get("do", ""))
    allowed = {Action.RETRY: RETRIED, Action.CANCEL: CANCELLED}.get(doing, frozenset())
    if asked.state not in allowed:
        raise ConfigurationError("select replies by a state in which they can be changed")
    return asked, doing


def _doing(text: str) -> Action:
    for action in (Action.RETRY, Action.RETRY_UNKNOWN, Action.CANCEL):
        if text == action:
            return action
    raise ConfigurationError("a reply can be retried or cancelled")
