"""A file that is there as a whole, or not at all."""

import asyncio
import errno
import os
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self


class PartialFile:
    """A file that gets its name when the context is left without an error; else it is removed.

    Only its user may read it. What was under the name before is replaced. It is on the disk when
    the context has been left. Written in threads, for a disk may be slow.

    Args:
        path: its name; the folder must exist.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[bytes] | None = None

    @staticmethod
    def check(path: Path) -> None:
        """Check that a file can have this name.

        Raises:
            OSError: its folder does not exist, or it is a folder.
        """
        if not path.parent.is_dir():
            raise FileNotFoundError(errno.ENOENT, "the folder does not exist", str(path.parent))
        if path.is_dir():
            raise IsADirectoryError(errno.EISDIR, "a folder has this name", str(path))

    async def __aenter__(self) -> Self:
        # At once, for what a cancelled call leaves in a thread would stay. mkstemp's are 0600.
        self._file = tempfile.NamedTemporaryFile(  # noqa: SIM115 - closed in `__aexit__`
            dir=self._path.parent, prefix=".", suffix=".part", delete=False
        )
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        # A write may still be under way in its thread: `close` waits for it, and not on the loop.
        await asyncio.to_thread(self._keep if kind is None else self._remove)

    async def write(self, content: bytes) -> None:
        """Append some bytes."""
        await asyncio.to_thread(self._opened.write, content)

    @property
    def _opened(self) -> IO[bytes]:
        if self._file is None:
            raise ValueError("the file is not open")
        return self._file

    def _keep(self) -> None:
        try:
            with self._opened as file:
                file.flush()
                os.fsync(file.fileno())
            Path(file.name).replace(self._path)
        except BaseException:
            self._remove()
            raise
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _remove(self) -> None:
        try:
            self._opened.close()
        finally:  # a full disk may refuse what is still to be written
            Path(self._opened.name).unlink(missing_ok=True)
