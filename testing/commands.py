"""Real `offhook` processes, in a directory and an environment of the test's own."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Protocol, Self

PATIENCE = 60.0  # seconds; for machines that do other things too

ECHO = """
from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> str:
    return f"You said: {message.body}"
"""


class Ended(NamedTuple):
    """What a command within this process came to."""

    status: int
    stdout: str
    stderr: str


class Call(Protocol):
    """Runs a command within this process."""

    def __call__(self, *arguments: str) -> Ended: ...


class Home:
    """A directory with a bot in it, from which commands are run."""

    def __init__(self, directory: Path, bot: str = ECHO, **environment: str) -> None:
        self.directory = directory
        self.runtime = directory / "runtime"
        self.runtime.mkdir(mode=0o700, exist_ok=True)
        self.environment = environment
        self.patience = PATIENCE  # seconds until a command that ends by itself hangs
        self.write_bot(bot)

    def write_bot(self, source: str) -> None:
        (self.directory / "bot.py").write_text(source)

    def run(self, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        """Run a command to its end."""
        return subprocess.run(
            [sys.executable, "-m", "offhook", *arguments],
            cwd=self.directory,
            env=self._environment(environment),
            capture_output=True,
            text=True,
            timeout=self.patience,
            check=False,
        )

    def start(self, *arguments: str, **environment: str) -> "Process":
        """Start a command that stays up."""
        return Process(arguments, self.directory, self._environment(environment))

    def serve(self, *arguments: str, **environment: str) -> "Process":
        """Start uvicorn, which stays up."""
        return Process(arguments, self.directory, self._environment(environment), module="uvicorn")

    def surroundings(self) -> dict[str, str]:
        """Return the environment of what is run here."""
        return self._environment({})

    def _environment(self, more: dict[str, str]) -> dict[str, str]:
        kept = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("TWILIO_", "OFFHOOK_"))
        }
        own = {"XDG_RUNTIME_DIR": str(self.runtime), "OFFHOOK_ADMIN_BIND": ""}
        return {**kept, **own, **self.environment, **more}


class Process:
    """A command that stays up, in a process group of its own, as a terminal would give it."""

    def __init__(
        self,
        arguments: tuple[str, ...],
        directory: Path,
        environment: dict[str, str],
        *,
        module: str = "offhook",
    ) -> None:
        self._log = directory / f"{arguments[0]}-{time.monotonic_ns()}.log"
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", module, *arguments],
                cwd=directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self.pid = self._process.pid

    @property
    def output(self) -> str:
        return self._log.read_text(errors="replace")  # it may be written just now

    def wait_for(self, text: str, times: int = 1) -> None:
        """Wait until it has printed a text."""
        until(lambda: self.output.count(text) >= times or self.has_ended(), self.explain)
        assert self.output.count(text) >= times, self.explain()

    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def interrupt(self) -> None:
        """Press Ctrl-C: the whole group gets it."""
        os.killpg(self.pid, signal.SIGINT)

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def kill(self) -> None:
        """Kill the whole group, if the command has not ended."""
        if not self.has_ended():
            os.killpg(self.pid, signal.SIGKILL)

    def signals_are_taken(self) -> bool:
        """Return whether it has taken the signals sent to it: equal ones that wait become one."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        pending = re.findall(r"^(?:SigPnd|ShdPnd):\s*(\w+)$", status, flags=re.MULTILINE)
        return not any(int(mask, 16) for mask in pending)

    def exit_status(self) -> int:
        """Wait for its end."""
        try:
            return self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise AssertionError(self.explain()) from None

    def children(self, role: str = "") -> list[int]:
        """Return the ids of its child processes."""
        return [pid for pid, line in _children(self.pid) if role in line]

    def explain(self) -> str:
        return f"it printed:\n{self.output}"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        # What its children hold, ports and locks, is free once they have ended.
        until(lambda: self.pid not in dict(process_groups()).values())
        self._process.wait()


def until(
    true: Callable[[], bool], explain: Callable[[], str] = str, *, patience: float = PATIENCE
) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + patience
    while not true():
        assert time.monotonic() < deadline, explain()
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Return whether a process runs; one that nobody has waited for does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):  # it may end while it is read
        return False


@contextmanager
def dev(
    home: Home, app: str = "bot:app", *, reload: bool = False, **environment: str
) -> Iterator[Process]:
    """Run `offhook dev` until the end of the context."""
    option = "--reload" if reload else "--no-reload"
    with home.start("dev", app, "--port", "0", option, **environment) as process:
        process.wait_for("In another terminal")
        yield process


def process_groups() -> Iterator[tuple[int, int]]:
    """Yield all live processes with their process groups."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                state, _, group, *_ = (entry / "stat").read_text().rpartition(")")[2].split()
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
            if state != "Z":
                yield int(entry.name), int(group)


def _children(parent: int) -> Iterator[tuple[int, str]]:
    """Yield the ids of a process's children, each with its command line."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
                if int(stat.rpartition(")")[2].split(maxsplit=2)[1]) == parent:
                    yield int(entry.name), (entry / "cmdline").read_text().replace("\0", " ")
            except (FileNotFoundError, ProcessLookupError):
                continue  # it has ended meanwhile
