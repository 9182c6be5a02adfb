"""Ports that no other process takes between the moment they are chosen and the server's start."""

import fcntl
import itertools
import os
import socket
import tempfile
from collections.abc import Iterator
from functools import cache
from pathlib import Path

# Below what Linux hands out to outgoing connections (32768 and up): one of those could otherwise
# sit on a server's port before its start, or while it is down.
_FIRST, _LAST, _BLOCK = 12_000, 32_000, 100


def free_port() -> int:
    """Return a port on which nothing listens, and that no other test process is given."""
    return next(port for port in _ports() if _is_free(port))


@cache
def _ports() -> Iterator[int]:
    """Lock a block of ports until this process ends; yield its ports in turn."""
    folder = Path(tempfile.gettempdir()) / f"offhook-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for first in range(_FIRST, _LAST, _BLOCK):
        lock = os.open(folder / str(first), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return itertools.cycle(range(first, first + _BLOCK))
    raise RuntimeError(f"every block of ports is in use: see {folder}")


def _is_free(port: int) -> bool:
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True
