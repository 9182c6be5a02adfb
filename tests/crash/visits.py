"""What else may open the store's file while a bot runs on it."""

import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Final, NamedTuple

from testing.commands import until
from testing.ports import free_port
from tests.crash.bystander import FAULTS, PATIENCE
from tests.crash.crowd import ERASED, PERSON
from tests.crash.services import Program, Service, Way
from tools.pages.commands import tree


class Visit(NamedTuple):
    """Something that happens to a running service.

    Attributes:
        pay: does it, and returns what went wrong, if anything.
        rounds: how often it happens in the long form.
    """

    name: str
    pay: Callable[[Service], str]
    rounds: int = 1


COMMANDS: Final[Mapping[str, Sequence[str]]] = {
    "offhook stats": (),
    "offhook doctor": ("--offline",),
    "offhook migrate": (),
    "offhook messages list": ("--limit", "500"),
    "offhook messages show": ("1", "2", "3"),
    "offhook messages replay": (
        *("--all", "--state", "done", "--sender", PERSON, "--rate", "200/s", "--yes"),
    ),
    "offhook messages discard": ("1",),
    "offhook messages erase": ("--sender", ERASED, "--yes"),
    "offhook send": ("+15551230099", "See you!", "--from", "+15005550006", "--at", "3d"),
    "offhook sends list": ("--limit", "500"),
    "offhook sends show": ("1", "2", "3"),
    "offhook sends retry": ("--all", "--state", "failed", "--yes"),
    "offhook sends cancel": ("--all", "--state", "undelivered", "--yes"),
}
"""How each command is called that opens the store, and goes again."""

SERVICES: Final[Mapping[str, Program]] = {
    "offhook run": Program(("run", "bot:app")),
    "offhook ingress": Program(("ingress", "bot:app")),
    "offhook worker": Program(("worker", "bot:app"), listens=False),
    "offhook dev": Program(("dev", "bot:app", "--no-reload")),
}
"""The commands that open the store, and stay."""

STRANGERS: Final = {
    "offhook demo": "its store is a temporary one",
    "offhook text": "talks to the running bot",
    "offhook connect": "talks to Twilio",
    "offhook bench": "talks to the running bot",
    "offhook new": "writes a bot, and opens no store",
}
"""Commands that never open the bot's store, and why."""

# What an operator does with Python or the sqlite3 shell: each a program of its own.
_SQL: Final = {
    "a look": 'store.execute("SELECT count(*) FROM messages").fetchone()',
    ".backup": "store.backup(sqlite3.connect(sys.argv[1] + '-backup'))",
    "VACUUM": 'store.execute("VACUUM")',
    "integrity_check": """
found = store.execute("PRAGMA integrity_check(3)").fetchall()
sys.exit(str(found) if found != [("ok",)] else None)
""",
    "wal_checkpoint": 'store.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()',
}
_CONNECTED: Final = """
import sqlite3, sys
store = sqlite3.connect(sys.argv[1], isolation_level=None, timeout=20)
"""

_ROUNDS: Final = 3


def commands() -> list[str]:
    """Return the full names of all commands that do something."""
    return [name for name, command in tree() if not hasattr(command, "commands")]


def visits(way: Way) -> Iterator[Visit]:
    """Yield all that may happen to a service that runs in this way."""
    yield from looks()
    for name, program in SERVICES.items():
        yield Visit(f"{name} beside it", partial(_stay, program))
    for number, program in enumerate(way.programs):
        name = f"{program.arguments[0]}" if len(way.programs) > 1 else "it"
        yield Visit(f"second start of {name}", partial(_stay, program, same_port=True))
        yield Visit(f"restart of {name}", partial(_restart, number))
        yield Visit(f"kill of {name}", partial(_kill, number))
        if way.name == "dev":  # what was killed starts again with the next change
            yield Visit("reload", _reload)
        else:
            for kind in program.children:
                role = kind.split()[-1].rpartition(".")[2]
                yield Visit(f"kill of its {role}", partial(_kill_child, number, kind))


def looks() -> Iterator[Visit]:
    """Yield what comes, opens the store's file, and goes."""
    for name, arguments in COMMANDS.items():
        yield Visit(name, partial(_command, name, arguments), _ROUNDS)
    for name, statements in _SQL.items():
        yield Visit(name, partial(_sql, statements), _ROUNDS)
    if shell := shutil.which("sqlite3"):
        yield Visit("sqlite3 .backup", partial(_shell, shell), _ROUNDS)
    yield Visit("a copy of the files", _copy, _ROUNDS)


def _command(name: str, arguments: Sequence[str], service: Service) -> str:
    _, *words = name.split()
    store = f"sqlite:///{service.database}"
    done = service.home.run(*words, *arguments, "--store", store)
    return _wrong(done.returncode in {0, 1}, done)


def _sql(statements: str, service: Service) -> str:
    return _external(sys.executable, "-c", _CONNECTED + statements, str(service.database))


def _shell(shell: str, service: Service) -> str:
    backup = f".backup '{service.database}-copy'"
    return _external(shell, "-cmd", ".timeout 20000", str(service.database), backup)


def _copy(service: Service) -> str:
    database = service.database
    target = database.with_name("copied")
    target.mkdir(exist_ok=True)
    files = [str(database.with_name(database.name + suffix)) for suffix in ("", "-wal", "-shm")]
    return _external("cp", "-a", *files, str(target))


def _stay(program: Program, service: Service, *, same_port: bool = False) -> str:
    """Start one more; have it end when it has the store, if it has not ended by itself."""
    port = service.port if same_port else free_port()
    with service.launch(program, port) as other:
        until(lambda: other.has_ended() or service.stores([other]) != set(), other.explain)
        if not other.has_ended():
            other.send(signal.SIGTERM)
        other.exit_status()
        return next((other.explain() for fault in FAULTS[1:] if fault in other.output), "")


def _restart(number: int, service: Service) -> str:
    service.restart(number)
    return ""


def _kill(number: int, service: Service) -> str:
    service.kill_program(number)
    return ""


def _kill_child(number: int, kind: str, service: Service) -> str:
    service.kill_child(number, kind)
    return ""


def _reload(service: Service) -> str:
    (before,) = service.children(0, "dev.child")
    bot = service.home.directory / "bot.py"
    service.home.write_bot(bot.read_text() + "\n")
    until(lambda: before not in service.children(0, "dev.child"), service.explain)
    service.until_up()
    return ""


def _external(*arguments: str) -> str:
    done = subprocess.run(arguments, capture_output=True, text=True, timeout=PATIENCE, check=False)
    return _wrong(done.returncode == 0, done)


def _wrong(fine: bool, done: "subprocess.CompletedProcess[str]") -> str:
    said = done.stdout + done.stderr
    if fine and not any(fault in said for fault in (*FAULTS, "is locked")):
        return ""
    return f"exit {done.returncode}: {said.strip()[-300:]}"
