"""What answers HTTP: Twilio's webhooks and health checks."""

from offhook.core.keys import Kind
from offhook.core.urls import MESSAGES, RETRIES, STATUS
from offhook.ingest import Reception
from offhook.settings import Settings
from offhook.web.conforming import Conforming
from offhook.web.health import Check, Health
from offhook.web.missing import Missing
from offhook.web.reading import Reader
from offhook.web.router import Router
from offhook.web.webhook import WebhookEndpoint

__all__ = [
    "Health",
    "Router",
    "WebhookEndpoint",
    "messages_url",
    "routes",
    "status_url",
    "webhook_url",
]


def messages_url(settings: Settings) -> str:
    """Return the URL at which messages are answered."""
    return f"{settings.public_url}{settings.mount_path}{MESSAGES}"


def status_url(settings: Settings) -> str:
    """Return the URL at which delivery statuses are answered."""
    return f"{settings.public_url}{settings.mount_path}{STATUS}"


def webhook_url(settings: Settings) -> str:
    """Return the URL that Twilio has to be given for messages, with its connection overrides."""
    return f"{messages_url(settings)}{RETRIES}"


def routes(reception: Reception, settings: Settings, *, ready: Check) -> Conforming:
    """Return one ASGI application of all that is answered on the public port.

    Args:
        reception: answers webhooks.
        settings: see `Reader`; and `mount_path`.
        ready: says whether the store can be reached.

    Raises:
        SettingsError: `trusted_proxies` cannot be read.
    """
    reader = Reader(settings)
    return Conforming(
        Router(
            {
                MESSAGES: WebhookEndpoint(Kind.MESSAGE, reception, reader),
                STATUS: WebhookEndpoint(Kind.STATUS, reception, reader),
                "/healthz": Health(),
                "/readyz": Health(ready),
            },
            Missing(reception, reader, settings.mount_path),
        )
    )
