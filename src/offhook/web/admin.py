"""What answers on the admin address, never on the public port."""

from collections.abc import Mapping

from starlette.types import ASGIApp

from offhook.web.health import Check, Health
from offhook.web.metrics import MetricsEndpoint, Render
from offhook.web.router import Branches, Router


def admin_routes(
    *, ready: Check, metrics: Render, pages: Mapping[str, ASGIApp] | None = None
) -> Branches:
    """Return one ASGI application of all that is answered there; for `http` scopes.

    Args:
        ready: says whether the store can be read.
        metrics: see `Render`.
        pages: what people look at, by how its paths begin: `/dashboard`, `/design/`.
    """
    exact = Router(
        {"/metrics": MetricsEndpoint(metrics), "/healthz": Health(), "/readyz": Health(ready)}
    )
    return Branches(pages or {}, exact)
