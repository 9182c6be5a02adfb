"""Child processes, and the lifeline between each of them and its parent.

The lifeline is a socket pair. The child writes a byte as a sign of life; that the other end is
gone, each side learns at once, however the other one died.
"""

import asyncio
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from typing import Protocol, Self


class HasFileno(Protocol):
    """What a process can inherit."""

    def fileno(self) -> int:
        """Return its descriptor."""
        ...


_SIGN = b"."
_MANY = 4096


class Child:
    """A process of ours, seen by its parent.

    Args:
        process: the process.
        line: our end of its lifeline.
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
        told: str = "",
    ) -> Self:
        """Start a module of ours as `python -m` does, with a lifeline.

        Args:
            module: its name.
            arguments: for it; `--lifeline` is added.
            shared: what it inherits, under the same descriptors.
            told: written to its standard input, for what nobody may read in a list of processes.

        Raises:
            OSError: the system has no descriptor, process or memory for it at present.
        """
        ours, theirs = socket.socketpair()
        with ExitStack() as undo, theirs:
            undo.callback(ours.close)
            command = [
                sys.executable, "-m", module, *arguments, "--lifeline", str(theirs.fileno()),
            ]  # fmt: skip
            inherited = [theirs.fileno(), *(one.fileno() for one in shared)]
            # Ctrl-C reaches the child as well, and is held back until it can leave it to us.
            held = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
            try:
                process = subprocess.Popen(  # noqa: S603 - our own module
                    command, pass_fds=inherited, stdin=subprocess.PIPE if told else None
                )
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, held)
            undo.pop_all()
        if process.stdin is not None:
            with suppress(BrokenPipeError), process.stdin as line:  # it may have died already
                line.write(told.encode())
        ours.setblocking(False)
        return cls(process, ours)

    def watch(self, told: Callable[[bool], None]) -> None:
        """Call `told` on the loop: with True at a sign of life, with False after the last."""

        def read() -> None:
            with suppress(BlockingIOError):
                try:
                    heard = bool(self._line.recv(_MANY))
                except ConnectionError:
                    heard = False
                if not heard:
                    asyncio.get_running_loop().remove_reader(self._line)
                told(heard)

        asyncio.get_running_loop().add_reader(self._line, read)

    def poll(self) -> int | None:
        """Return the exit status of a process that has ended, else None."""
        return self._process.poll()

    def ask_to_end(self) -> None:
        """Ask it to finish what it has begun."""
        self._process.terminate()

    def kill(self) -> None:
        """End it now."""
        self._process.kill()

    def forget(self) -> None:
        """Let go of a process that has ended."""
        with suppress(RuntimeError):  # outside of a loop nobody watches
            asyncio.get_running_loop().remove_reader(self._line)
        self._line.close()


class Lifeline:
    """The child's end.

    Args:
        descriptor: inherited from the parent.
    """

    def __init__(self, descriptor: int) -> None:
        os.set_inheritable(descriptor, False)  # what a handler starts is not a part of this child
        self._line = socket.socket(fileno=descriptor)
        self._line.setblocking(False)

    def beat(self) -> None:
        """Give a sign of life."""
        # A full buffer holds signs enough, and a parent that is gone is noticed elsewhere.
        with suppress(OSError):
            self._line.send(_SIGN)

    def when_cut(self, act: Callable[[], None]) -> None:
        """Call `act` on the loop, once, when the parent is gone."""
        loop = asyncio.get_running_loop()

        def cut() -> None:
            loop.remove_reader(self._line)
            act()

        loop.add_reader(self._line, cut)


def describe_exit(status: int) -> str:
    """Return an exit status in words: `was killed by SIGKILL`, `ended with status 1`."""
    if status >= 0:
        return f"ended with status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"was killed by {name}"
