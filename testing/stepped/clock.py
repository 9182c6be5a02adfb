"""A wall clock that a test sets, under processes that run."""

import shutil
import struct
import subprocess
from collections.abc import Mapping
from pathlib import Path


class SteppedClock:
    """The wall clock of all processes that are started with its environment."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.set(0)

    @property
    def environment(self) -> Mapping[str, str]:
        return {"PYTHONPATH": str(Path(__file__).parent), "STEPPED_CLOCK": str(self._path)}

    def set(self, seconds: int) -> None:
        """Set it so many seconds ahead of what it would show, or back, at once for all."""
        with self._path.open("r+b" if self._path.exists() else "wb") as file:
            file.write(struct.pack("=q", seconds * 1_000_000_000))


class FakedClock:
    """The wall clock of programs that are no Python of ours, by libfaketime."""

    def __init__(self, path: Path) -> None:
        if (faketime := shutil.which("faketime")) is None:
            raise RuntimeError("faketime is not installed: apt-get install faketime")
        self._path = path
        self.set(0)
        self._library = subprocess.run(
            [faketime, "-f", "+0", "printenv", "LD_PRELOAD"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.strip()

    @property
    def environment(self) -> Mapping[str, str]:
        return {
            "LD_PRELOAD": self._library,
            "FAKETIME_TIMESTAMP_FILE": str(self._path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }

    def set(self, seconds: int) -> None:
        """Set it so many seconds ahead of what it would show, or back."""
        # At once: a program that reads an empty file believes that nothing is to be added.
        written = self._path.with_name(f"{self._path.name}.new")
        written.write_text(f"{seconds:+}\n")
        written.chmod(0o644)
        written.rename(self._path)
