"""Respond with pages, and with the event streams that keep them up to date."""

from http import HTTPStatus

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse

from offhook.admin.forms import FRESH, csrf_token
from offhook.admin.pages import Pages
from offhook.admin.streams import BuildView, Streams, View


class Answers:
    """Responds with views.

    Args:
        pages: renders them.
    """

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._streams = Streams(pages.render)

    def close(self) -> None:
        """End all streams."""
        self._streams.close()

    async def show(self, request: Request, make: BuildView, period: float) -> Response:
        """Respond with a page, or with its event stream if the request accepts one."""
        token = csrf_token(request)
        if "text/event-stream" in request.headers.get("accept", ""):
            stream = self._streams.follow(make, period=period, csrf=token)
            return StreamingResponse(stream, media_type="text/event-stream", headers=FRESH)
        return self.page(request, await make())

    def page(self, request: Request, view: View) -> Response:
        """Respond with a page."""
        page = self._pages.render(view.template, **view.values, csrf=csrf_token(request))
        return HTMLResponse(page, view.status, FRESH)


def error_view(status: int, text: str) -> View:
    """Return the page of an error."""
    title = HTTPStatus(status).phrase.capitalize()
    return View("error.html", {}, {"title": title, "text": text}, status)
