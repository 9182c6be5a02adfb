"""Limit how many connections a process has, and make room for new ones."""

import logging
import resource
from collections import OrderedDict
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

HEAD_TIMEOUT: Final = 10.0
"""Seconds from a head's first byte to its last; and for which a client may leave answers unread."""

SPARE_FILES: Final = 64
"""For the store, logs and everything else that a process opens."""

_WARN_EVERY: Final = 10.0  # seconds

_log = logging.getLogger("offhook")


class Abortable(Protocol):
    """A connection."""

    def abort(self) -> None:
        """Close at once."""
        ...


@dataclass(frozen=True, slots=True)
class Bounds:
    """The limits that can be set.

    Attributes:
        connections: of one process.
        head_timeout: seconds; see `HEAD_TIMEOUT`.
    """

    connections: int
    head_timeout: float = HEAD_TIMEOUT


DEFAULT_BOUNDS: Final = Bounds(1000)
"""Of a server that only its own user is meant to reach."""


@dataclass(slots=True)
class ConnectionLimits:
    """The limits of a process's connections, and the state that they share.

    Attributes:
        bounds: the limits.
        waiting: connections that wait for their client, the longest waiting first.
        warned: when too many connections were last logged, by `time.monotonic`.
    """

    bounds: Bounds
    waiting: OrderedDict[Abortable, None] = field(default_factory=OrderedDict)
    warned: float = -_WARN_EVERY

    @classmethod
    def within_files(cls, bounds: Bounds) -> "ConnectionLimits":
        """Return limits that this process may open enough files for; raise that number if need be.

        Args:
            bounds: what is wished for.
        """
        files = _raise_file_limit(bounds.connections + SPARE_FILES)
        connections = max(1, min(bounds.connections, files - SPARE_FILES))
        return cls(Bounds(connections, bounds.head_timeout))

    def make_room(self, held: int) -> bool:
        """Cut the connection that has waited longest if there are too many; False if none waits.

        A genuine request arrives at once, so that its connection hardly ever waits, and is never
        the one that has waited longest.

        Args:
            held: how many connections there are, the new one included.
        """
        if held <= self.bounds.connections:
            return True
        self._warn()
        if not self.waiting:
            return False
        longest, _ = self.waiting.popitem(last=False)
        longest.abort()
        return True

    def _warn(self) -> None:
        if monotonic() - self.warned > _WARN_EVERY:
            self.warned = monotonic()
            _log.warning(
                "%d connections are open: those that send nothing are cut, the longest first "
                "(OFFHOOK_MAX_CONNECTIONS)",
                self.bounds.connections,
            )


def _raise_file_limit(wanted: int) -> int:
    """Raise how many files this process may open to `wanted`, as far as allowed; return it."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft >= wanted:
        return wanted
    files = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (files, hard))
    return files
