"""The URLs of this installation's webhooks, from its settings."""

from offhook.core.urls import MESSAGES_PATH, RETRY_OVERRIDES, STATUS_PATH
from offhook.settings import Settings


def messages_url(settings: Settings) -> str:
    """Return the URL of the message webhook."""
    return f"{settings.public_url}{settings.mount_path}{MESSAGES_PATH}"


def status_url(settings: Settings) -> str:
    """Return the URL of the status webhook."""
    return f"{settings.public_url}{settings.mount_path}{STATUS_PATH}"


def webhook_url(settings: Settings) -> str:
    """Return the message webhook's URL with its connection overrides, as to be set at Twilio."""
    return f"{messages_url(settings)}{RETRY_OVERRIDES}"
