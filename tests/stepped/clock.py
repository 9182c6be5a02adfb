"""A wall clock that a test sets, under processes that run."""

import struct
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
