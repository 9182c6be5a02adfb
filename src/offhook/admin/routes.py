"""What answers on the admin address, never on the public port."""

from collections.abc import Mapping

from starlette.types import ASGIApp

from offhook.admin.metrics import MetricsEndpoint, Render
from offhook.core.hosts import HostNames
from offhook.web.health import Check, Health
from offhook.web.local_only import TrustedHost
from offhook.web.router import Branches, Router
from offhook.web.strict_http import Conforming


def admin_routes(
    *,
    ready: Check,
    metrics: Render,
    hosts: HostNames,
    pages: Mapping[str, ASGIApp] | None = None,
) -> Conforming:
    """Return one ASGI application of all that is answered there; for `http` scopes.

    Args:
        ready: says whether the store can be read.
        metrics: see `Render`.
        hosts: see `TrustedHost`.
        pages: what people look at, by how its paths begin: `/dashboard`, `/design/`.
    """
    exact = Router(
        {
            "/metrics": TrustedHost(MetricsEndpoint(metrics), hosts),
            "/healthz": Health(),
            "/readyz": Health(ready),
        }
    )
    return Conforming(Branches(pages or {}, exact))
