"""Release what dead workers of a machine had claimed, without waiting for their leases to end."""

import asyncio
import fcntl
import os
import secrets
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Final

from offhook.arrivals.file import beside
from offhook.concurrency import wait_for_event
from offhook.errors import StoreUnavailable
from offhook.stores.api import Queue

_EVERY: Final = 1.0  # seconds
_LONGEST_NAME: Final = 1024  # bytes


class Takeover:
    """Shows other workers of the machine that this one lives, and looks whether they do.

    Each worker has a file with its name, and a lock on it (`flock`) that the kernel lets go of when
    the process dies, however it dies. A process that was stopped keeps its lock, and its leases as
    long as they last. So does one whose handlers have forked, as long as their processes live.

    Args:
        store: open; has the leases.
        folder: of the files; see `folder_of`.
        owner: names this process in leases.
    """

    def __init__(self, store: Queue, folder: Path, owner: str) -> None:
        self._store = store
        self._folder = folder
        self._owner = owner
        self._file: tuple[Path, int] | None = None
        self._stopped = asyncio.Event()

    def stop(self) -> None:
        """Let `run` return."""
        self._stopped.set()

    async def run(self) -> None:
        """Release the leases of dead workers, at once and every second, until `stop` is called."""
        while not self._stopped.is_set():
            with suppress(StoreUnavailable):  # the worker says so
                await self.release_dead()
            await wait_for_event(self._stopped, _EVERY)

    async def release_dead(self) -> int:
        """Release the leases of workers whose processes have ended; return how many.

        Raises:
            StoreUnavailable: they could not be released.
        """
        released = 0
        for path, owner in list(self._dead()):
            released += await self._store.release(owner)
            path.unlink(missing_ok=True)
        return released

    def begin(self) -> None:
        """Show that this process lives. Where no file can be made, its leases have to run out."""
        with suppress(OSError):
            self._folder.mkdir(mode=0o700, exist_ok=True)
            path = self._folder / secrets.token_hex(8)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            fcntl.flock(descriptor, fcntl.LOCK_EX)  # another may just be looking at it
            # Not before: a name without a lock is that of a dead worker.
            os.write(descriptor, os.fsencode(self._owner))
            self._file = path, descriptor

    def end(self) -> None:
        """Remove the file, when there are no leases left. May be called twice."""
        if self._file is not None:
            path, descriptor = self._file
            self._file = None
            path.unlink(missing_ok=True)
            os.close(descriptor)

    def _dead(self) -> Iterator[tuple[Path, str]]:
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
