"""The host names that requests may use."""

import socket
from urllib.parse import urlsplit

from offhook.core.hosts import HostNames
from offhook.settings import Settings


def allowed_hosts(settings: Settings) -> HostNames:
    """Return the names of OFFHOOK_ALLOWED_HOSTS; without it, those of this machine."""
    return HostNames(settings.allowed_hosts or _own_names())


def admin_hosts(settings: Settings) -> HostNames:
    """Return the host names allowed on the admin address."""
    public = urlsplit(settings.public_url).hostname
    return HostNames((*settings.allowed_hosts, *_own_names(), *((public,) if public else ())))


def _own_names() -> tuple[str, ...]:
    # Not getfqdn: it may query a DNS server that does not respond, and delay the start.
    return ("localhost", "127.0.0.1", "[::1]", socket.gethostname())
