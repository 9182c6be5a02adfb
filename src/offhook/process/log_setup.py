"""The log of this process, as its settings and its standard error ask for."""

import logging
import sys

from offhook.observe.log import LogObserver, configure_logging
from offhook.settings import Settings
from offhook.startup import told_at_start
from offhook.worker.handlers import Handlers


def configure(settings: Settings) -> None:
    """Log text to a terminal, JSON to everything else."""
    configure_logging(
        settings.log_level,
        as_json=not sys.stderr.isatty(),
        # Exceptions quote what people wrote.
        tracebacks=settings.log_bodies,
    )


def for_development(settings: Settings) -> None:
    """Log text with tracebacks, and of offhook only what went wrong: the screen shows the rest."""
    configure_logging(settings.log_level, as_json=False, tracebacks=True)
    own = logging.WARNING if settings.log_level == "info" else logging.NOTSET
    logging.getLogger("offhook").setLevel(own)


def tell_slips(settings: Settings, handlers: Handlers) -> None:
    """Log what looks wrong with a bot and its settings, and stops nothing."""
    tell = LogObserver()
    for problem in told_at_start(settings, handlers):
        tell(problem)


def mute() -> None:
    """Log nothing of offhook's until one of the others is called."""
    logging.getLogger("offhook").setLevel(logging.CRITICAL + 1)
