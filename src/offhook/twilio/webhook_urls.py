"""The URLs under which Twilio calls this installation, by its settings."""

from offhook.core.urls import MESSAGES_PATH, RETRY_OVERRIDES, STATUS_PATH
from offhook.settings import Settings


def messages_url(settings: Settings) -> str:
    """Return the URL at which messages are answered."""
    return f"{settings.public_url}{settings.mount_path}{MESSAGES_PATH}"


def status_url(settings: Settings) -> str:
    """Return the URL at which delivery statuses are answered."""
    return f"{settings.public_url}{settings.mount_path}{STATUS_PATH}"


def webhook_url(settings: Settings) -> str:
    """Return the URL that Twilio has to be given for messages, with its connection overrides."""
    return f"{messages_url(settings)}{RETRY_OVERRIDES}"
