"""What a machine listens on."""

import errno
import ipaddress
import logging
import socket
from dataclasses import dataclass
from typing import Final

from offhook.errors import ConfigurationError
from offhook.process.plan import Role
from offhook.settings import Settings

_log = logging.getLogger("offhook")

BACKLOG: Final = 2048
"""Connections that wait in the kernel while all processes are busy or being replaced."""


@dataclass(frozen=True, slots=True)
class Sockets:
    """What a machine listens on. They are the parent's, and outlive the processes that answer.

    Attributes:
        public: for webhooks; None where none are answered.
        admin: for metrics; None where there are none.
    """

    public: socket.socket | None
    admin: socket.socket | None

    def of(self, role: Role) -> socket.socket:
        """Return what a role listens on."""
        found = self.admin if role is Role.ADMIN else self.public
        if found is None:
            raise ConfigurationError(f"{role} has nothing to listen on")
        return found


def admin_socket(settings: Settings) -> socket.socket | None:
    """Return a socket on the admin address; None where there shall be none, or it is taken.

    Webhooks must be answered all the same, so that another command here has it is no error.

    Raises:
        ConfigurationError: it is no address of this machine, or not allowed.
    """
    if settings.admin_address is None:
        return None
    try:
        return bound(*settings.admin_address)
    except (OSError, UnicodeError) as error:
        if getattr(error, "errno", None) != errno.EADDRINUSE:
            raise ConfigurationError(
                f"OFFHOOK_ADMIN_BIND: can't listen on {settings.admin_bind}: {error}"
            ) from error
    _log.warning(
        "the admin address %s is in use: no metrics are served for what this command runs. "
        "Give it an address of its own with OFFHOOK_ADMIN_BIND, or none with OFFHOOK_ADMIN_BIND=",
        settings.admin_bind,
    )
    return None


def listen(host: str, port: int) -> socket.socket:
    """Return a listening socket.

    Args:
        host: an address of this machine, or a name for one.
        port: 0 for any that is free.

    Raises:
        ConfigurationError: the address is in use, not of this machine, or not allowed.
    """
    try:
        return bound(host, port)
    except (OSError, UnicodeError) as error:
        raise ConfigurationError(_why_not(host, port, error)) from error


def bound(host: str, port: int) -> socket.socket:
    """Return a listening socket, as `listen` does; raises what the system does."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    return socket.create_server((host, port), family=family, backlog=BACKLOG)


def url_of(listener: socket.socket) -> str:
    """Return the URL at which a socket is reached from this machine."""
    host, port = listener.getsockname()[:2]
    address = ipaddress.ip_address(host)
    if address.is_unspecified:
        address = ipaddress.ip_address("::1" if address.version == 6 else "127.0.0.1")  # noqa: PLR2004 - IPv6
    return f"http://[{address}]:{port}" if ":" in str(address) else f"http://{address}:{port}"


def is_public(listener: socket.socket) -> bool:
    """Return whether other machines may reach a socket."""
    return not ipaddress.ip_address(listener.getsockname()[0]).is_loopback


def _why_not(host: str, port: int, error: OSError | UnicodeError) -> str:
    match getattr(error, "errno", None):
        case errno.EADDRINUSE:
            return f"port {port} is in use: stop what listens there, or choose another with --port"
        case errno.EACCES:
            return f"port {port} needs more rights: choose one above 1023 with --port"
        case errno.EADDRNOTAVAIL:
            return f"{host} is not an address of this machine: check --host"
        case _:
            return f"can't listen on {host}:{port}: {error}"
