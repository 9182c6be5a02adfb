"""Imported by every Python at its start that finds it: notes who opens a database's file himself.

Only SQLite may: closing any descriptor of the file drops the process' locks on it
(https://www.sqlite.org/howtocorrupt.html, section 2.2). What SQLite opens raises no such event.
"""

import os
import sys
from contextlib import suppress

_log = os.open(os.environ["CRASH_OPENED"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if event == "open" and isinstance(arguments[0], str | bytes | os.PathLike):
        name = os.fsdecode(arguments[0])
        if name.endswith((".db", ".db-wal", ".db-shm")):
            with suppress(OSError):
                os.write(_log, f"{os.getpid()} {name} {sys.argv}\n".encode())


sys.addaudithook(_note)
