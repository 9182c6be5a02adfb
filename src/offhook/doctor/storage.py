"""Checks of the disk under a store's file, or a spool."""

import re
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from offhook.arrivals.file import logs_of
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.settings import Settings

_MOUNTS: Final = Path("/proc/self/mountinfo")

_MEMORY: Final = frozenset({"tmpfs", "ramfs", "devtmpfs"})
_LAYERS: Final = frozenset({"overlay", "overlayfs", "aufs"})
# SQLite's log needs shared memory, and its locks need one kernel for all processes:
# https://www.sqlite.org/wal.html, https://www.sqlite.org/faq.html#q5
_NETWORK: Final = frozenset(
    {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "afs", "ceph", "glusterfs", "lustre", "virtiofs"}
)

_SCARCE: Final = 1_000_000_000  # bytes; a million messages with their replies take as much
_GONE: Final = 100_000_000
_FILES: Final = ("", "-wal", "-shm", "-lock")
_OTHERS: Final = 0o077


@dataclass(frozen=True, slots=True)
class Mount:
    """A mounted file system."""

    point: Path
    type: str


def mounts(lines: Iterable[str]) -> list[Mount]:
    """Read `/proc/self/mountinfo`: the mount point is its fifth field, the type follows a `-`.

    https://www.kernel.org/doc/html/latest/filesystems/proc.html, section 3.5
    """
    found = []
    for line in lines:
        before, separator, after = line.partition(" - ")
        fields = before.split(" ")
        if separator and len(fields) > 4:  # noqa: PLR2004 - see above
            found.append(Mount(Path(_unescape(fields[4])), after.split(" ")[0]))
    return found


def mount_of(path: Path, found: Iterable[Mount]) -> Mount | None:
    """Return the mount that a file is on: the deepest, and of several there the last."""
    holding = [mount for mount in found if path.is_relative_to(mount.point)]
    return max(reversed(holding), key=lambda mount: len(mount.point.parts), default=None)


def check_mount(path: Path, mount: Mount, setting: str = "OFFHOOK_STORE") -> Finding:
    """Return the finding for a store, or a spool, on this file system."""
    subject, where = "file system", f"{path} is on {mount.type}"
    remedy = f"Put {setting} on a disk or a persistent volume."
    if mount.type in _MEMORY:
        return fail(subject, f"{where}, in memory: a restart loses all messages", remedy)
    if mount.type in _LAYERS:
        return fail(subject, f"{where}: it is deleted with the container", remedy)
    if mount.type in _NETWORK or mount.type.startswith("fuse.sshfs"):
        remedy = f"Put {setting} on a local disk; for several machines, use PostgreSQL."
        return fail(subject, f"{where}: SQLite cannot lock it across a network", remedy)
    return ok(subject, where)


async def file_system(settings: Settings) -> Findings:
    """Check that the file system is persistent, and that SQLite can lock files on it."""
    if not _MOUNTS.exists():
        return []
    found = []
    for setting, path in (
        ("OFFHOOK_STORE", settings.store_file),
        ("OFFHOOK_SPOOL", settings.spool_file),
    ):
        mount = None if path is None else _mount_of(path.resolve())
        if path is not None and mount is not None:
            found.append(check_mount(path, mount, setting))
    return found


async def free_space(settings: Settings) -> Findings:
    """Check that the disk has space."""
    folders = dict.fromkeys(path.parent for path in settings.homes_of_logs)
    return [_free_space(folder) for folder in folders if folder.is_dir()]


def _free_space(folder: Path) -> Finding:
    free = shutil.disk_usage(folder).free
    text = f"{free / 1e9:,.1f} GB free at {folder}"
    remedy = "Free some space: webhooks that cannot be stored are answered 503, and may be lost."
    if free < _GONE:
        return fail("disk", text, remedy)
    return warn("disk", text, remedy) if free < _SCARCE else ok("disk", text)


async def file_modes(settings: Settings) -> Findings:
    """Check that other users cannot read messages."""
    store = settings.store_file
    files = [] if store is None else [store.with_name(store.name + suffix) for suffix in _FILES]
    files += [path for home in settings.homes_of_logs for path in sorted(logs_of(home))]
    there = [file for file in files if file.exists()]
    open_ = [file for file in there if file.stat().st_mode & _OTHERS]
    if open_:
        names = " ".join(str(file) for file in open_)
        return [warn("file modes", "other users can read messages", f"chmod 600 {names}")]
    return [ok("file modes", "only their owner can read messages")] if there else []


def _mount_of(path: Path) -> Mount | None:
    with _MOUNTS.open(encoding="utf-8", errors="surrogateescape") as lines:
        return mount_of(path, mounts(lines))


def _unescape(text: str) -> str:
    r"""Decode blanks and the like, which stand as octal numbers: `\040`."""
    return re.sub(r"\\([0-7]{3})", lambda match: chr(int(match[1], 8)), text)
