"""An operator at work while the drill goes on: commands that look, and backups, in turn."""

import asyncio
import itertools
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Final, Protocol

from testing.commands import Home
from testing.postgres import PostgresServer

# Times as long as the last command took, so that commands do not compete with the servers for CPU.
_REST: Final = 4.0
_LONGEST_REST: Final = 2.0  # seconds; each kind of look has its turn in a short run

PATIENCE: Final = 120.0
"""Seconds until a command hangs. Starting Python takes long on a machine that is this busy."""

_COMMANDS: Final = (("stats",), ("messages", "list"), ("doctor", "--offline"))

# What no command may say, whatever is killed meanwhile.
FAULTS: Final = ("Traceback", "malformed", "not a database", "disk I/O error", "no store at")

_BACKUP: Final = """
import sqlite3, sys
store, copy = sqlite3.connect(sys.argv[1], timeout=20), sqlite3.connect(sys.argv[2])
store.backup(copy)
((said,),) = copy.execute("PRAGMA quick_check(1)")
sys.exit(None if said == "ok" else said)
"""


class Database(Protocol):
    """What the messages are in, seen by an operator."""

    def back_up(self) -> str:
        """Back it up; return what is wrong with that, if anything."""

    def check(self) -> str:
        """Have it look for damage; return what it found, if anything."""


class SqliteFile:
    """A database file, whoever else has it open."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def back_up(self) -> str:
        copy = self._path.with_name("backup")
        done = subprocess.run(
            [sys.executable, "-c", _BACKUP, self._path, copy],
            capture_output=True, text=True, timeout=PATIENCE, check=False,
        )  # fmt: skip
        return f"backup: {done.stderr[-300:]}" if done.returncode else ""

    def check(self) -> str:
        with closing(sqlite3.connect(self._path, timeout=20)) as connection:
            try:
                ((said,),) = connection.execute("PRAGMA quick_check(1)")
            except sqlite3.Error as error:
                return f"quick_check: {error}"
        return "" if said == "ok" else f"quick_check: {said}"


class PostgresDatabase:
    """A database of a server that may be away."""

    def __init__(self, server: PostgresServer, name: str) -> None:
        self._server = server
        self._name = name

    def back_up(self) -> str:
        try:
            self._server.dump(self._name)
        except RuntimeError as error:
            # One that is stopped in the middle of it has no backup; nothing else is an excuse.
            return "" if "server" in str(error) or "connection" in str(error) else str(error)
        return ""

    def check(self) -> str:
        return ""


class Bystander:
    """Runs commands until it is cancelled.

    Attributes:
        complaints: what was wrong with what they said.
        visits: how many have run.
    """

    def __init__(self, home: Home, database: Database) -> None:
        self.complaints: list[str] = []
        self.visits = 0
        self._home = home
        home.patience = PATIENCE
        self._database = database

    async def work(self) -> None:
        """Look, and look again."""
        doings: list[Callable[[], str]] = [self._database.back_up]
        doings += [partial(self._run, *words) for words in _COMMANDS]
        for do in itertools.cycle(doings):
            began = time.monotonic()
            self._note(await asyncio.to_thread(do))
            self.visits += 1
            await asyncio.sleep(min(_LONGEST_REST, _REST * (time.monotonic() - began)))

    async def check(self) -> None:
        """Look for damage."""
        self._note(await asyncio.to_thread(self._database.check))

    def _run(self, *words: str) -> str:
        try:
            said = self._home.run(*words)
        except subprocess.TimeoutExpired:
            return f"{' '.join(words)}: no end within {PATIENCE:g} s"
        wrong = next((fault for fault in FAULTS if fault in said.stdout + said.stderr), "")
        return f"{' '.join(words)}: {wrong}: {(said.stdout + said.stderr)[-300:]}" if wrong else ""

    def _note(self, complaint: str) -> None:
        if complaint:
            self.complaints.append(complaint)
