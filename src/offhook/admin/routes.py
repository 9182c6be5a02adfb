"""The routes of the admin address, which the public port does not have."""

from collections.abc import Mapping

from starlette.types import ASGIApp

from offhook.admin.metrics import MetricsEndpoint, Render
from offhook.core.hosts import HostNames
from offhook.web.health import Check, Health
from offhook.web.local_only import TrustedHost
from offhook.web.router import Branches, Router
from offhook.web.strict_http import StrictHttp


def admin_routes(
    *,
    ready: Check,
    metrics: Render,
    hosts: HostNames,
    pages: Mapping[str, ASGIApp] | None = None,
) -> StrictHttp:
    """Return the ASGI application of the admin address, for `http` scopes.

    Args:
        ready: returns whether the store can be read.
        metrics: see `Render`.
        hosts: see `TrustedHost`.
        pages: applications by path prefix: `/dashboard`, `/design/`.
    """
    exact = Router(
        {
            "/metrics": TrustedHost(MetricsEndpoint(metrics), hosts),
            "/healthz": Health(),
            "/readyz": Health(ready),
        }
    )
    return StrictHttp(Branches(pages or {}, exact))
