"""A connection that commits durably."""

import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Final
from urllib.parse import quote

BUSY_TIMEOUT: Final = 1.0
"""Seconds for programs that write without our lock, such as the sqlite3 shell, or for a process
that was stopped in the middle of a transaction."""

# Pages of the write-ahead log after which a commit checkpoints as well. Most of them are in the
# database by then (`Engine`), but only a writer can begin the log anew.
_AUTOCHECKPOINT: Final = 20_000


def connect(
    path: Path,
    *,
    made_like: Path | None = None,
    check: Callable[[], None] = lambda: None,
) -> sqlite3.Connection:
    """Return a connection that commits durably: write-ahead log, one fsync a commit.

    It waits for no lock by itself, and may be used by several threads, one at a time.

    Only SQLite ever opens the file, or its log or index. POSIX locks belong to a process, and
    closing any descriptor of a file drops all that the process has on it: had we opened and closed
    it ourselves, other processes would see no lock, take themselves for the last, and delete the
    log (https://www.sqlite.org/howtocorrupt.html, section 2.2). SQLite knows its own descriptors,
    and closes none while another connection of the process has a lock.

    Args:
        path: absolute.
        made_like: if there is no such file, make it, with the mode of this one from the first
            moment on. SQLite gives its log and index the same mode. Without it a missing file is
            an error, for a new one would be empty.
        check: called once the file is open, before its log is: raises if it is the wrong one.
    """
    # https://www.sqlite.org/uri.html#recognized_query_parameters
    mode = "mode=rw" if made_like is None else f"mode=rwc&modeof={quote(bytes(made_like))}"
    connection = sqlite3.connect(
        f"{path.as_uri()}?{mode}",
        uri=True,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=512,
        timeout=0,
    )
    try:
        check()
    except BaseException:
        connection.close()  # which touches no file that nobody has read
        raise
    connection.execute(f"PRAGMA busy_timeout = {int(BUSY_TIMEOUT * 1000)}")
    for pragma in (
        "journal_mode = WAL",
        "synchronous = FULL",
        f"wal_autocheckpoint = {_AUTOCHECKPOINT}",
        "cache_size = -65536",  # KiB
        "temp_store = MEMORY",
        "busy_timeout = 0",
    ):
        connection.execute(f"PRAGMA {pragma}")
    return connection
