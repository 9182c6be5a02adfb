"""Ports that a server can leave and come back to."""

import random
import socket

# Below what Linux hands out to connections going out (32768 and up): one of these thousands could
# otherwise sit on a server's port while the server is down.
_QUIET = range(20_000, 32_000)


def quiet_port() -> int:
    """Return a port on which nothing listens, and that no connection going out will take."""
    while True:
        port = random.choice(_QUIET)
        try:
            socket.create_server(("127.0.0.1", port)).close()
        except OSError:
            continue
        return port
