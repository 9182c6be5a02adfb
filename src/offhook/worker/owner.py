"""The names of processes in leases."""

import os
import secrets
import socket


def owner_name() -> str:
    """Return a name for this process that no other has, now or after a restart."""
    return f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(6)}"
