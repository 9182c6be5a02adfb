"""The store of `offhook dev`: its own SQLite file, not that of OFFHOOK_STORE."""

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

from offhook.errors import ConfigurationError

FOLDER: Final = ".offhook"


@contextmanager
def own_store(directory: Path, name: str = "dev") -> Iterator[Path]:
    """Yield the file of a store that no other `offhook dev` in this directory is using.

    That is `.offhook/dev.db`, which the next start uses again; while that is in use, `dev-2.db`,
    and so on; with another `name`, it is called that.

    Raises:
        ConfigurationError: the directory can't be written.
    """
    folder = directory / FOLDER
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        (folder / ".gitignore").write_text("*\n")  # keeps messages out of the repository
        lock, store = _free(folder, name)
    except OSError as error:
        raise ConfigurationError(f"{folder} can't be used: {error.strerror}") from error
    try:
        yield store
    finally:
        os.close(lock)


def _free(folder: Path, first: str) -> tuple[int, Path]:
    """Return the first store that is not locked, and the lock that now holds it."""
    for number in count(1):
        name = first if number == 1 else f"{first}-{number}"
        lock = os.open(folder / f"{name}.lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
        else:
            return lock, folder / f"{name}.db"
    raise AssertionError
