"""Route Twilio's webhooks and health checks to what answers them."""

from offhook.core.keys import Kind
from offhook.core.urls import MESSAGES_PATH, STATUS_PATH
from offhook.ingress.asgi import WebhookEndpoint
from offhook.ingress.reading import Reader
from offhook.ingress.reception import Reception
from offhook.ingress.unknown_path import Missing
from offhook.settings import Settings
from offhook.web.health import Check, Health
from offhook.web.router import Router
from offhook.web.strict_http import StrictHttp


def routes(reception: Reception, settings: Settings, *, ready: Check) -> StrictHttp:
    """Return the ASGI application of the public port.

    Args:
        reception: answers webhooks.
        settings: see `Reader`; and `mount_path`.
        ready: says whether the store can be reached.

    Raises:
        SettingsError: `trusted_proxies` cannot be read.
    """
    reader = Reader(settings)
    return StrictHttp(
        Router(
            {
                MESSAGES_PATH: WebhookEndpoint(Kind.MESSAGE, reception, reader),
                STATUS_PATH: WebhookEndpoint(Kind.STATUS, reception, reader),
                "/healthz": Health(),
                "/readyz": Health(ready),
            },
            Missing(reception, reader, settings.mount_path),
        )
    )
