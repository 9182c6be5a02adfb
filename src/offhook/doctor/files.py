"""Checks of SQLite files, of a store, its logs and a spool: damage, size, files deleted in use."""

import asyncio
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

from offhook.arrivals.file import logs_of, put_aside
from offhook.arrivals.waiting import spooled
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.errors import StoreError
from offhook.settings import Settings

_PROCESSES: Final = Path("/proc")
_DELETED: Final = " (deleted)"  # https://man7.org/linux/man-pages/man5/proc_pid_fd.5.html
_CHECK_TIME: Final = 5.0  # seconds; half of what a check may take (`examine`)
_STEPS: Final = 100_000  # of SQLite's virtual machine between two readings of the clock
_LONG: Final = 256_000_000  # bytes; a log is reset at some 80 MB

_REMEDY: Final = 'See docs/explanation/guarantees.md, "When the store is broken".'


async def integrity(settings: Settings) -> Findings:
    """Look for damage, for at most five seconds."""
    found = [
        _integrity(subject, path)
        for subject, path in _files(settings)
        if path.exists() and not deleted_in_use(path)
    ]
    return await asyncio.gather(*found)


async def log_size(settings: Settings) -> Findings:
    """Check that the log is checkpointed into the database."""
    return [finding for subject, path in _files(settings) for finding in _log_size(subject, path)]


async def deleted_files(settings: Settings) -> Findings:
    """Find processes that use a deleted or replaced file of the store."""
    found = []
    for subject, path in _files(settings):
        holders = deleted_in_use(path)
        if holders:
            text = "; ".join(f"process {pid} has {name} open" for pid, name in holders)
            found.append(fail(f"{subject} files", f"removed or replaced: {text}", _REMEDY))
    return found


async def unsorted(settings: Settings) -> Findings:
    """Look for acknowledged webhooks that could not be moved from a log into the store."""
    found: list[Finding] = []
    for path in _logs(settings):
        with suppress(sqlite3.Error), closing(_read_only(path)) as connection:  # see `integrity`
            (number,) = connection.execute("SELECT count(*) FROM unsorted").fetchone()
            if number:
                text = f"{number:,} batches of acknowledged webhooks could not be sorted"
                remedy = f"They are in the table `unsorted` of {path}, with the reason of each."
                found.append(warn("arrivals", text, remedy))
    for path in sorted(one for home in settings.homes_of_logs for one in put_aside(home)):
        text = f"{path} could not be read, and may hold acknowledged webhooks"
        remedy = f"Recover what is left with `sqlite3 {path} .recover`, then remove the file."
        found.append(warn("arrivals", text, remedy))
    return found


async def waiting_in_spool(settings: Settings) -> Findings:
    """Count the webhooks that wait in the spool for the store."""
    if settings.spool_file is None:
        return []
    try:
        number = await spooled(settings.spool_file)
    except StoreError as error:
        return [fail("spool", str(error), "Check its owner, and that it is on a local disk.")]
    if not number:
        return [ok("spool", "no webhook waits in it")]
    remedy = "An ingress on this machine forwards them once the store is available: check its log."
    return [warn("spool", f"{number:,} webhooks wait in it for the store", remedy)]


def deleted_in_use(path: Path) -> list[tuple[int, str]]:
    """Return the processes that have a deleted file of this name open, as far as visible to us.

    Opening the database while one of them has its log open would begin a second log.
    """
    real = os.path.realpath(path)
    names = {f"{real}{suffix}{_DELETED}" for suffix in ("", "-wal", "-shm")}
    return sorted({(pid, target) for pid, target in _open_files() if target in names})


def _files(settings: Settings) -> list[tuple[str, Path]]:
    store = [] if settings.store_file is None else [("store", settings.store_file)]
    return [*store, *(("arrivals", path) for path in _logs(settings))]


def _logs(settings: Settings) -> list[Path]:
    return sorted(path for home in settings.homes_of_logs for path in logs_of(home))


def _log_size(subject: str, path: Path) -> Findings:
    log = Path(f"{os.path.realpath(path)}-wal")
    size = log.stat().st_size if log.exists() else 0
    text = f"{log.name} is {size / 1e6:,.0f} MB"
    if size < _LONG:
        return [ok(f"{subject} log", text)] if path.exists() else []
    remedy = "A reader such as an open sqlite3 shell prevents checkpoints: close it."
    return [warn(f"{subject} log", text, remedy)]


async def _integrity(subject: str, path: Path) -> Finding:
    subject = f"{subject} file"
    try:
        found = await asyncio.to_thread(_quick_check, path)
    except sqlite3.Error as error:
        return fail(subject, f"{path} cannot be read: {error}", _REMEDY)
    if found is None:
        remedy = f"For a full check: sqlite3 {path} 'PRAGMA quick_check'"
        return ok(subject, f"no damage found in {_CHECK_TIME:g} s. {remedy}")
    if found == "ok":
        return ok(subject, "no damage found")
    return fail(subject, f"{path} is damaged: {found}", _REMEDY)


def _quick_check(path: Path) -> str | None:
    """Return the first fault, or "ok"; None if the time ran out."""
    deadline = time.monotonic() + _CHECK_TIME
    with closing(_read_only(path)) as connection:
        connection.set_progress_handler(lambda: time.monotonic() > deadline, _STEPS)
        try:
            # https://www.sqlite.org/pragma.html#pragma_quick_check
            (found,) = connection.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode != sqlite3.SQLITE_INTERRUPT:
                raise
            return None
    return str(found).replace("\n", " ")


def _read_only(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)


def _open_files() -> Iterator[tuple[int, str]]:
    for process in _PROCESSES.glob("[0-9]*"):
        with suppress(OSError):  # another user's, or it has ended meanwhile
            for descriptor in (process / "fd").iterdir():
                with suppress(OSError):
                    yield int(process.name), str(descriptor.readlink())
