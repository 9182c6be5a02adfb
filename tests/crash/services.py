"""Every way of running a bot on one SQLite file, as processes that can be killed and looked at."""

import asyncio
import os
import signal
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

import httpx2

from offhook.dev.session import Session
from offhook.twilio.simulator import Credentials, Simulator
from testing.commands import Home, Process, is_alive, process_groups, until
from testing.plain_http import plain_get
from testing.ports import free_port
from testing.stores import opened_sorted
from tests.crash.bystander import PATIENCE

BOT: Final = """
import asyncio

from starlette.applications import Starlette

from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> None:
    await asyncio.sleep(0.02)

mounted = Starlette(lifespan=app.lifespan)
mounted.mount("/bot", app)
"""

_HOOK: Final = str(Path(__file__).with_name("opened"))

LEASE: Final = "2"  # seconds: what a killed worker was at, another has so soon

# SHARED_FIRST of SQLite's os.h: where a connection in WAL mode has a read lock for as long as it is
# open.
_SHARED: Final = str(0x40000000 + 2)


class Program(NamedTuple):
    """A command line, without its port.

    Attributes:
        children: what the command lines of its processes contain, one for each kind.
        listens: whether it has a port.
    """

    arguments: tuple[str, ...]
    children: tuple[str, ...] = ()
    listens: bool = True


@dataclass(frozen=True, slots=True)
class Way:
    """A way of running a bot.

    Attributes:
        programs: started in this order.
        path: where it is mounted.
        admin: the admin address, if there is to be one.
    """

    name: str
    programs: Sequence[Program]
    path: str = ""
    admin: str = ""


_ADMIN: Final = "offhook.process.admin_main"
_INGRESS, _WORKER = "offhook.process.main ingress", "offhook.process.main worker"

WAYS: Final = (
    Way("uvicorn", [Program(("uvicorn", "bot:app"))]),
    Way(
        "uvicorn --workers 2",
        [Program(("uvicorn", "bot:app", "--workers", "2"), ("spawn_main",))],
    ),
    Way("mounted", [Program(("uvicorn", "bot:mounted"))], path="/bot"),
    Way("dev", [Program(("dev", "bot:app"), ("dev.child",))]),
    Way("run", [Program(("run", "bot:app"), (_INGRESS, _WORKER, _ADMIN))], admin="127.0.0.1:0"),
    Way(
        "ingress + worker",
        [
            Program(("ingress", "bot:app"), (_INGRESS,)),
            Program(("worker", "bot:app"), (_WORKER,), listens=False),
        ],
    ),
)  # fmt: skip


class Service:
    """A bot that runs in one of the ways, in a directory of its own.

    Args:
        directory: new and empty.
    """

    def __init__(self, way: Way, directory: Path) -> None:
        directory.mkdir()
        self.way = way
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self._own = Simulator.credentials()
        self._opened = directory / "opened"
        self.home = Home(
            directory,
            BOT,
            TWILIO_ACCOUNT_SID=self._own.account_sid,
            TWILIO_AUTH_TOKEN=self._own.auth_token,
            OFFHOOK_PUBLIC_URL=self.url,
            OFFHOOK_MOUNT_PATH=way.path,
            OFFHOOK_STORE=f"sqlite:///{directory}/offhook.db",
            OFFHOOK_ADMIN_BIND=way.admin,
            OFFHOOK_LEASE=LEASE,
            PYTHONPATH=os.pathsep.join([_HOOK, *filter(None, [os.environ.get("PYTHONPATH")])]),
            CRASH_OPENED=str(self._opened),
        )
        self.home.patience = PATIENCE
        self._running: list[Process] = []
        self._database: Path | None = None

    @property
    def webhook(self) -> str:
        return f"{self.url}{self.way.path}/twilio/messages"

    @property
    def credentials(self) -> Credentials:
        """The account whose webhooks it believes; `dev` makes one up at each start."""
        sessions = list((self.home.runtime / "offhook").glob(f"dev-{self.port}.json"))
        return Session.read(sessions[0]).credentials if sessions else self._own

    @property
    def database(self) -> Path:
        """The file that it has its messages in."""
        if self._database is None:
            (self._database,) = self.stores()
        return self._database

    def stores(self, processes: Sequence[Process] | None = None) -> set[Path]:
        """Return the databases that its processes, or some of them, have open."""
        files = (Path(file) for pid in self.pids(processes) for file in files_of(pid))
        return {file for file in files if file.suffix == ".db"}

    def start(self) -> None:
        """Start all programs, and return when it answers."""
        self._running = [self.launch(program) for program in self.way.programs]
        self.until_up()

    def launch(self, program: Program, port: int | None = None) -> Process:
        """Start a program, on the service's port or another, without waiting for it."""
        command, *rest = program.arguments
        listen = ("--port", str(port or self.port)) if program.listens else ()
        if command == "uvicorn":
            return self.home.serve(*rest, *listen)
        return self.home.start(command, *rest, *listen)

    def until_up(self) -> None:
        """Wait until it answers, and until each of its processes is there."""
        until(lambda: self._answers() and self._is_whole(), self.explain)

    def restart(self, number: int) -> None:
        """End a program as an operator does, and start it again."""
        self._running[number].send(signal.SIGTERM)
        self._running[number].exit_status()
        self._relaunch(number)

    def children(self, number: int, kind: str) -> list[int]:
        """Return the ids of a program's processes of a kind."""
        return self._running[number].children(kind)

    def kill_child(self, number: int, kind: str) -> None:
        """Kill one process of a program, which has to replace it."""
        pid, *_ = self.children(number, kind)
        os.kill(pid, signal.SIGKILL)
        until(lambda: not is_alive(pid), self.explain)
        self.until_up()

    def kill_program(self, number: int) -> None:
        """Kill a program with all its processes, and start it again."""
        _kill([self._running[number]])
        self._relaunch(number)

    def kill(self) -> None:
        """Kill all processes at once."""
        _kill(self._running)
        self._running = []

    def pids(self, processes: Sequence[Process] | None = None) -> list[int]:
        """Return the ids of its processes, or of some of them."""
        groups = {one.pid for one in (self._running if processes is None else processes)}
        return [pid for pid, group in process_groups() if group in groups]

    def deleted(self) -> list[str]:
        """Return the files beside its database that are deleted, and still open in it."""
        return [file for pid in self.pids() for file in deleted_of(pid)]

    def unlocked(self) -> list[int]:
        """Return those of its processes that have the database open, and no lock on it."""
        database = self.database
        inode = str(database.stat().st_ino)
        locks = [line.split() for line in Path("/proc/locks").read_text().splitlines()]
        locked = {
            int(lock[-4])
            for lock in locks
            if lock[-5] == "READ" and lock[-3].split(":")[2] == inode and lock[-2] == _SHARED
        }
        return [pid for pid in self.pids() if str(database) in files_of(pid) and pid not in locked]

    def opened(self) -> str:
        """Return who has opened the database's file without SQLite."""
        return self._opened.read_text() if self._opened.exists() else ""

    def sort(self) -> None:
        """Move what was acknowledged into its database, as a command does."""

        async def sort() -> None:
            async with opened_sorted(self.database):
                pass

        asyncio.run(sort())

    def states(self) -> dict[str, str]:
        """Return the states of the messages in its database, by SID."""
        uri = f"{self.database.as_uri()}?mode=ro"
        with closing(sqlite3.connect(uri, uri=True, timeout=10)) as connection:
            return dict(connection.execute("SELECT sid, state FROM messages"))

    def quick_check(self) -> str:
        """Return what SQLite says of the database: `ok`."""
        with closing(sqlite3.connect(self.database, timeout=10)) as connection:
            try:
                return "; ".join(line for (line,) in connection.execute("PRAGMA quick_check(3)"))
            except sqlite3.DatabaseError as error:
                return str(error)

    def explain(self) -> str:
        return "\n".join(process.explain() for process in self._running)

    def _relaunch(self, number: int) -> None:
        self._running[number] = self.launch(self.way.programs[number])
        self.until_up()

    def _answers(self) -> bool:
        try:
            return plain_get(
                f"{self.url}{self.way.path}/readyz", timeout=5.0, trust_env=False
            ).is_success
        except httpx2.TransportError:
            return False

    def _is_whole(self) -> bool:
        return all(
            process.children(kind)
            for process, program in zip(self._running, self.way.programs, strict=True)
            for kind in program.children
        )


def _kill(processes: Sequence[Process]) -> None:
    for process in processes:
        process.kill()
    for process in processes:
        process.__exit__(None, None, None)


def files_of(pid: int) -> set[str]:
    """Return the names of the files that a process has open."""
    found = set()
    try:
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            found.add(str(entry.readlink()))
    except (FileNotFoundError, ProcessLookupError):
        pass  # it, or the descriptor, has gone meanwhile
    return found


def deleted_of(pid: int) -> list[str]:
    """Return the files of a database that a process has open, and that are deleted."""
    return [file for file in files_of(pid) if ".db" in file and file.endswith(" (deleted)")]
