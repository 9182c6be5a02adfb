"""Configure the log of this process."""

import logging
import sys

from offhook.observe.log import LogObserver, configure_logging
from offhook.settings import Settings
from offhook.startup import startup_warnings
from offhook.worker.handlers import Handlers


def configure(settings: Settings) -> None:
    """Log text to a terminal, JSON elsewhere."""
    configure_logging(
        settings.log_level,
        as_json=not sys.stderr.isatty(),
        # Exceptions quote what people wrote.
        tracebacks=settings.log_bodies,
    )


def configure_for_development(settings: Settings, *, transcript: bool = True) -> None:
    """Log text with tracebacks, and only warnings of offhook if a transcript shows the rest."""
    configure_logging(settings.log_level, as_json=False, tracebacks=True)
    own = logging.WARNING if transcript and settings.log_level == "info" else logging.NOTSET
    logging.getLogger("offhook").setLevel(own)


def log_startup_warnings(settings: Settings, handlers: Handlers) -> None:
    """Log the startup warnings."""
    log = LogObserver()
    for problem in startup_warnings(settings, handlers):
        log(problem)


def mute() -> None:
    """Log nothing of offhook until one of the functions above is called."""
    logging.getLogger("offhook").setLevel(logging.CRITICAL + 1)
