"""Tell workers that live from those whose processes have ended, by locks on files."""

import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from offhook.stores.sqlite.files import beside

_LONGEST_NAME: Final = 1024  # bytes


class Presence:
    """Shows other workers of the machine that this one lives, and looks whether they do.

    Each worker has a file with its name, and a lock on it (`flock`) that the kernel lets go of when
    the process ends. One whose handlers have forked keeps it as long as their processes live.

    Args:
        folder: of the files; see `folder_of`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._file: tuple[Path, int] | None = None

    def join(self, owner: str) -> None:
        """Show that this process lives. Where no file can be made, its leases have to run out."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / secrets.token_hex(8)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # another may just be looking at it
            # Not before: a name without a lock is that of a dead worker.
            os.write(descriptor, os.fsencode(owner))
            self._file = path, descriptor

    def leave(self) -> None:
        """Remove the file. May be called twice."""
        if self._file is not None:
            path, descriptor = self._file
            self._file = None
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def dead(self) -> Iterator[tuple[Path, str]]:
        """Yield the files, and the names, of workers whose processes have ended."""
        own = None if self._file is None else self._file[0]
        with suppress(OSError):  # there is no folder, or it can't be read: leases run out
            for path in self._folder.iterdir():
                if path != own and (owner := _owner_if_dead(path)):
                    yield path, owner


def folder_of(store: Path) -> Path:
    """Return the folder of a store's workers; the same for all links that lead to its file."""
    return beside(store, "-workers")


def _owner_if_dead(path: Path) -> str:
    """Return the name in a file that nobody has locked; empty if somebody has, or there is none."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:  # it has just ended
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return ""
    else:
        return os.fsdecode(os.read(descriptor, _LONGEST_NAME))
    finally:
        os.close(descriptor)
