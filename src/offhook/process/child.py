"""Child processes, their exit statuses, and the lifeline between each of them and its parent.

The lifeline is a socket pair. The child writes a byte as a heartbeat, which also says whether it
is ready; each side sees at once when the other has exited, for whatever reason.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from enum import Enum, auto
from typing import Final, Protocol, Self

from offhook.errors import OffhookError, StoreBroken

STORE_BROKEN: Final = 3
"""Exit status: the store's file is gone, replaced or damaged, so an immediate restart fails too."""


class HasFileno(Protocol):
    """Something with a descriptor that a process can inherit."""

    def fileno(self) -> int:
        """Return the descriptor."""
        ...


_HEARTBEAT: Final = b"."
_READY: Final = b"!"
_READ_SIZE: Final = 4096


class LifelineEvent(Enum):
    """What a parent sees on a lifeline."""

    HEARTBEAT = auto()
    """A heartbeat of a process that is not ready yet."""
    READY = auto()
    """A heartbeat of a process that is ready."""
    CLOSED = auto()
    """The process has exited."""


class Child:
    """A child process, seen by its parent.

    Args:
        process: the process.
        line: the parent's end of its lifeline.
    """

    def __init__(self, process: "subprocess.Popen[bytes]", line: socket.socket) -> None:
        self.pid = process.pid
        self._process = process
        self._line = line

    @classmethod
    def start(
        cls,
        module: str,
        arguments: Sequence[str],
        *,
        shared: Sequence[HasFileno] = (),
        stdin: str = "",
    ) -> Self:
        """Start the `main` of a module in a process of its own, with a lifeline.

        Args:
            module: its name.
            arguments: for it; `--lifeline` is added.
            shared: inherited under the same descriptors.
            stdin: secrets for the child, kept out of the list of processes.

        Raises:
            OSError: the system is out of descriptors, processes or memory.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as undo, theirs:
            undo.callback(ours.close)
            command = [
                sys.executable, "-m", "offhook.process", module, *arguments,
                "--lifeline", str(theirs.fileno()),
            ]  # fmt: skip
            inherited = [theirs.fileno(), *(one.fileno() for one in shared)]
            # Ctrl-C reaches the child too: blocked until the child has a handler that ignores it.
            held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process = subprocess.Popen(  # noqa: S603 - our own module
                    command, pass_fds=inherited, stdin=subprocess.PIPE if stdin else None
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, held)
            undo.pop_all()
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin as line:  # it may have exited already
                line.write(stdin.encode())
        ours.setblocking(False)
        return cls(process, ours)

    def watch(self, on_lifeline: Callable[[LifelineEvent], None]) -> None:
        """Call `on_lifeline` on the loop, at heartbeats and once the lifeline is closed."""

        def read() -> None:
            with suppress(BlockingIOError):
                try:
                    received = self._line.recv(_READ_SIZE)
                except ConnectionError:
                    received = b""
                if not received:
                    asyncio.get_running_loop().remove_reader(self._line)
                on_lifeline(_event_of(received))

        asyncio.get_running_loop().add_reader(self._line, read)

    def poll(self) -> int | None:
        """Return its exit status; None while it runs."""
        return self._process.poll()

    def terminate(self) -> None:
        """Send SIGTERM: finish the current work and exit."""
        self._process.terminate()

    def kill(self) -> None:
        """Send SIGKILL."""
        self._process.kill()

    def close(self) -> None:
        """Close the lifeline of a process that has exited."""
        with suppress(RuntimeError):  # not watched outside a running loop
            asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()


class Lifeline:
    """The child's end.

    Args:
        descriptor: inherited from the parent.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(
            descriptor, False
        )  # or processes that a handler starts would hold it open
        self._line = socket.socket(fileno=descriptor)
        self._line.setblocking(False)
        self._heartbeat = _HEARTBEAT

    def beat(self) -> None:
        """Send a heartbeat."""
        # A full buffer holds heartbeats enough; `on_disconnect` reports a parent that has exited.
        with suppress(OSError):
            self._line.send(self._heartbeat)

    def ready(self) -> None:
        """Send a heartbeat that says that this process is ready, as all later ones do."""
        self._heartbeat = _READY
        self.beat()

    def on_disconnect(self, act: Callable[[], None]) -> None:
        """Call `act` on the loop, once, when the parent has exited."""
        loop = asyncio.get_running_loop()

        def disconnected() -> None:
            loop.remove_reader(self._line)
            act()

        loop.add_reader(self._line, disconnected)


def _event_of(received: bytes) -> LifelineEvent:
    if not received:
        return LifelineEvent.CLOSED
    return LifelineEvent.READY if _READY in received else LifelineEvent.HEARTBEAT


def exit_status(error: OffhookError) -> int:
    """Return the status with which a process exits because of an error."""
    return STORE_BROKEN if isinstance(error, StoreBroken) else 1


def describe_exit(status: int) -> str:
    """Return an exit status in words: `was killed by SIGKILL`, `ended with status 1`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}"
