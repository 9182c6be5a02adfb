"""From a path to what answers it."""

from collections.abc import Mapping

from starlette.types import ASGIApp, Receive, Scope, Send

from offhook.core.responses import REFUSED, Fault
from offhook.web.asgi import respond


class Router:
    """Passes a request on by its exact path below `root_path`; an ASGI application.

    For `http` and `websocket` scopes; it closes all websockets. The lifespan is its application's.
    A dictionary, because this is on the hot path: Starlette's router tries one regular expression
    after the other.

    Args:
        routes: applications by path.
        missing: the application for all other paths; by default 404.
    """

    def __init__(self, routes: Mapping[str, ASGIApp], missing: ASGIApp | None = None) -> None:
        self._routes = dict(routes)
        self._missing = missing or not_found

    @property
    def paths(self) -> frozenset[str]:
        """The paths that are answered."""
        return frozenset(self._routes)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        if scope["type"] == "websocket":
            # Closing before accepting is answered 403 by the server (ASGI specification).
            await send({"type": "websocket.close", "code": 1000})
            return
        route = self._routes.get(route_path(scope))
        # An escaped slash is none, and part of a name (RFC 3986, 2.2).
        if route is None or b"%2f" in (scope.get("raw_path") or b"").lower():
            route = self._missing
        await route(scope, receive, send)


async def not_found(scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG001 - ASGI
    """Answer 404; an ASGI application for `http` scopes."""
    await respond(send, REFUSED[Fault.NOT_FOUND])


def route_path(scope: Scope) -> str:
    """Return the path below the point where this application is mounted.

    `path` holds `root_path` in what uvicorn and Starlette's mounts send, as ASGI asks for; not
    every server does so, so it is removed only if it is there.
    """
    path: str = scope["path"]
    root_path: str = scope.get("root_path", "")
    if root_path and path.startswith(root_path + "/"):
        return path[len(root_path) :]
    return path


class Branches:
    """Passes a request on by the prefix of its path; an ASGI application.

    Args:
        branches: applications by prefix; the first that matches is taken.
        rest: the application for all other paths.
    """

    def __init__(self, branches: Mapping[str, ASGIApp], rest: Router) -> None:
        self._branches = dict(branches)
        self._rest = rest

    @property
    def paths(self) -> frozenset[str]:
        """The paths, and prefixes of paths, that are answered."""
        return frozenset(self._branches) | self._rest.paths

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass the request on."""
        await self._choose(scope)(scope, receive, send)

    def _choose(self, scope: Scope) -> ASGIApp:
        if scope["type"] == "http":
            path = route_path(scope)
            for prefix, branch in self._branches.items():
                if path.startswith(prefix):
                    return branch
        return self._rest
