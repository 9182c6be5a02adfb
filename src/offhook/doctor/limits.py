"""Checks of what bounds people and connections."""

import resource

from offhook.doctor.finding import Findings, ok, warn
from offhook.settings import Settings

# As `cli.door` keeps them, for the store, logs, and what else a process has open.
_SPARE_FILES = 64


async def senders(settings: Settings) -> Findings:
    """Look whether workers count the messages of a sender together."""
    if settings.sender_limit is None:
        return []
    amount, seconds = settings.sender_limit
    subject, rate = "sender limit", f"{amount} messages in {seconds:g} s"
    if settings.cache.get_secret_value() != "memory://":
        return [ok(subject, f"{rate}, counted in OFFHOOK_CACHE")]
    if settings.workers == 1 and settings.store_file is not None:
        return [ok(subject, rate)]
    return [
        warn(
            subject,
            f"{rate} in each worker process, for each counts for itself",
            "Set OFFHOOK_CACHE to a Redis, or a lower limit.",
        )
    ]


async def connections(settings: Settings) -> Findings:
    """Look whether a process may open as many files as it may have connections."""
    # An ingress raises the soft limit by itself.
    _, files = resource.getrlimit(resource.RLIMIT_NOFILE)
    possible = files - _SPARE_FILES
    if files == resource.RLIM_INFINITY or possible >= settings.max_connections:
        return [ok("connections", f"at most {settings.max_connections:,} for each ingress")]
    text = f"{possible:,} for each ingress, not {settings.max_connections:,}: {files:,} open files"
    return [warn("connections", text, "Raise `ulimit -Hn`; with systemd, LimitNOFILE=.")]
