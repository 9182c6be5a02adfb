"""A real PgBouncer in front of a PostgreSQL: clients get a session for one transaction only."""

import os
import pwd
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from testing.ports import free_port

_MISSING = "PgBouncer is not installed: apt-get install pgbouncer (it need not run as a service)"
_PATIENCE = 30.0  # seconds
SESSIONS = 3  # fewer than its clients, so that they do share them

# https://www.pgbouncer.org/config.html
_CONFIGURATION = """
[databases]
* = host=127.0.0.1 port={server} user=postgres password='{password}'
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = {sessions}
max_client_conn = 200
"""


@contextmanager
def pgbouncer(url: str) -> Iterator[str]:
    """Run one before a server; return a database's URL that leads through it.

    Raises:
        RuntimeError: it is not installed, or does not start.
    """
    program = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if program is None:
        raise RuntimeError(_MISSING)
    server, port = urlsplit(url), free_port()
    directory = Path(tempfile.mkdtemp(prefix="offhook-pgbouncer-"))
    file = directory / "pgbouncer.ini"
    file.write_text(
        _CONFIGURATION.format(
            server=server.port, port=port, password=server.password, sessions=SESSIONS
        )
    )
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to run as root
        nobody = pwd.getpwnam("nobody")
        as_user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": ()}
        for path in (directory, file):
            os.chown(path, nobody.pw_uid, nobody.pw_gid)
    log = directory / "log"
    try:
        with (
            log.open("wb") as output,
            subprocess.Popen([program, file], stdout=output, stderr=output, **as_user) as process,
        ):
            try:
                _until_up(log, process)
                yield server._replace(netloc=f"postgres:any@127.0.0.1:{port}").geturl()
            finally:
                process.terminate()
    finally:
        shutil.rmtree(directory)


def _until_up(log: Path, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + _PATIENCE
    while "process up" not in log.read_text():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"PgBouncer did not start:\n{log.read_text()}")
        time.sleep(0.01)  # it says so in a file
