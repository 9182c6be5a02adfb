"""A command on a pseudo-terminal of its own, and a person who types there."""

import codecs
import os
import pty
import select
import subprocess
import sys
import termios
import time
from collections.abc import Iterator
from contextlib import contextmanager

from testing.commands import Home

CTRL_C, CTRL_D = "\x03", "\x04"
_PATIENCE = 60.0
_AGAIN = 5.0


class Terminal:
    def __init__(self, descriptor: int, process: subprocess.Popen[bytes]) -> None:
        self._descriptor = descriptor
        self._process = process
        self._decoder = codecs.getincrementaldecoder("utf-8")()  # a read may end amid a character
        self.shown = ""

    def until_shown(self, text: str) -> None:
        until = time.monotonic() + _PATIENCE
        while text not in self.shown:
            if time.monotonic() > until or not self._read(_PATIENCE):
                raise AssertionError(f"never said {text!r}, but:\n{self.shown}")

    def type(self, text: str) -> None:
        os.write(self._descriptor, text.encode())

    def end(self, again: str = "") -> int:
        """Read on until the command has ended, and return its exit status.

        :param again: Typed once more after five seconds of silence. Python overlooks a Ctrl-C that
            comes between its question and its reading of the answer until something else comes; a
            person who sees nothing happen presses it again.
        """
        until = time.monotonic() + _PATIENCE
        while time.monotonic() < until:
            if not self._ready(_AGAIN):
                self.type(again)
            elif not self._read():
                return self._process.wait(_PATIENCE)
        raise AssertionError(f"goes on:\n{self.shown}")

    def _ready(self, patience: float) -> bool:
        return bool(select.select([self._descriptor], [], [], patience)[0])

    def _read(self, patience: float = 0) -> bool:
        if not self._ready(patience):
            return False
        try:
            part = os.read(self._descriptor, 65536)
        except OSError:  # how a terminal says that nobody is left at its other end
            return False
        self.shown += self._decoder.decode(part)
        return bool(part)


@contextmanager
def on_a_terminal(home: Home, *arguments: str, columns: int = 80) -> Iterator[Terminal]:
    """Run `offhook` with these arguments; it is killed if it has not ended by itself."""
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (25, columns))
    process = subprocess.Popen(
        # So that it is its terminal, whose Ctrl-C reaches it, also where tests have no foreground.
        ["env", "--default-signal=INT", "setsid", "--ctty", sys.executable, "-m", "offhook",
         *arguments],
        cwd=home.directory, env={**os.environ, "XDG_RUNTIME_DIR": str(home.runtime)},
        stdin=theirs, stdout=theirs, stderr=theirs,
    )  # fmt: skip
    os.close(theirs)
    try:
        yield Terminal(ours, process)
    finally:
        process.kill()
        process.wait()
        os.close(ours)
