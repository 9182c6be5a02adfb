"""What a machine listens on."""

import errno
import logging
import socket
from dataclasses import dataclass

from offhook.errors import ConfigurationError
from offhook.process.plan import Role
from offhook.process.server import bound
from offhook.settings import Settings

_log = logging.getLogger("offhook")


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
