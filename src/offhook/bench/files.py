"""Connections are open files, of which a process may have only so many."""

import resource
from typing import Final

from offhook.errors import ConfigurationError

_OTHERS: Final = 100  # files that are open besides


def room_for(connections: int) -> None:
    """Let this process, and those it starts, open so many connections.

    Raises:
        ConfigurationError: the system does not allow it.
    """
    wanted = connections + _OTHERS
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return
    limit = wanted if hard == resource.RLIM_INFINITY else max(wanted, hard)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, limit))
    except (ValueError, OSError) as error:
        raise ConfigurationError(
            f"{connections:,} connections need {wanted:,} open files, and {hard:,} are allowed: "
            "raise `ulimit -n`, or ask for fewer"
        ) from error
