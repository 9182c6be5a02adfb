"""A sheet of numbers in memory that processes share: one writes, others read.

The memory belongs to the seat that a process fills, not to the process. What a killed process has
counted is still there, its successor counts on, and a counter never falls. There are no files to
clean up. docs/decisions/0010-metrics-across-processes.md has the measurements.

The first eight bytes say how much of it is used. Rows follow: the length of a key, how many numbers
there are, the key, the numbers.
"""

import mmap
import os
import struct
import tempfile
import threading
from collections.abc import Iterable
from typing import Final, Self

_SPARE: Final = 64  # numbers at the end, for what has no place

SIZE: Final = 256 * 1024
"""Bytes of a sheet; the system gives memory to those that are written. Labels are bounded."""

_USED: Final = struct.Struct("=Q")
_HEAD: Final = struct.Struct("=II")
_CELL: Final = 8  # bytes of a number; rows begin at a multiple of it


class SharedMemory:
    """Memory for a sheet, seen by the parent of those that write and read it."""

    def __init__(self) -> None:
        self._descriptor = _anonymous()
        os.ftruncate(self._descriptor, SIZE)

    def fileno(self) -> int:
        """Return the descriptor, for processes that inherit it."""
        return self._descriptor


class SharedCounters:
    """The numbers of one process; made by its only writer.

    A number is changed where it stands: `sheet.numbers[place] += 1`. A reader may see a row whose
    numbers are of two moments, never half a number.

    Args:
        memory: of `SIZE` bytes. Rows that are in it go on.

    Attributes:
        memory: the same, for whoever reads it in this process.
        numbers: all numbers of the sheet.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.numbers: memoryview[float] = memoryview(memory).cast("d")
        self._places = {key: place for key, place, _ in _rows(memory)}
        self._used = _USED.unpack_from(memory)[0] or _USED.size
        self._adding = threading.Lock()

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """Return the sheet in memory that the parent has made. The descriptor is closed."""
        memory = mmap.mmap(descriptor, SIZE)
        os.close(descriptor)
        return cls(memory)

    @classmethod
    def alone(cls) -> Self:
        """Return a sheet of this process' own."""
        return cls(mmap.mmap(-1, SIZE))

    def place(self, key: str, width: int = 1) -> int:
        """Return where the numbers of a key begin; they are added if need be, as zeros.

        A full sheet answers with a place that nobody reads.

        Args:
            key: names the row.
            width: how many numbers it has, always the same for a key.
        """
        found = self._places.get(key)
        if found is None:
            with self._adding:  # a worker's heartbeat reports problems from a thread of its own
                if key not in self._places:
                    self._places[key] = self._add(key.encode(), width)
                found = self._places[key]
        return found

    def _add(self, key: bytes, width: int) -> int:
        first = self._used + _padded(_HEAD.size + len(key))
        end = first + width * _CELL
        if end > SIZE - _SPARE * _CELL:
            return SIZE // _CELL - _SPARE
        _HEAD.pack_into(self.memory, self._used, len(key), width)
        self.memory[self._used + _HEAD.size : self._used + _HEAD.size + len(key)] = key
        self.memory[first:end] = bytes(end - first)  # somebody may have died in here
        self._used = end
        _USED.pack_into(self.memory, 0, end)  # last: a reader sees whole rows
        return first // _CELL


def inherited(descriptor: int) -> mmap.mmap:
    """Return the memory of another process' sheet, to be read. The descriptor stays open."""
    return mmap.mmap(descriptor, SIZE, access=mmap.ACCESS_READ)


def read(memory: mmap.mmap) -> dict[str, tuple[float, ...]]:
    """Return all rows of a sheet that another process may be writing."""
    return {
        key: struct.unpack_from(f"={width}d", memory, place * _CELL)
        for key, place, width in _rows(memory)
    }


def totals(sheets: Iterable[mmap.mmap]) -> dict[str, tuple[float, ...]]:
    """Return the rows of several sheets, those of one key added up."""
    total: dict[str, tuple[float, ...]] = {}
    for memory in sheets:
        for key, numbers in read(memory).items():
            so_far = total.get(key)
            total[key] = numbers if so_far is None else tuple(map(float.__add__, so_far, numbers))
    return total


def _rows(memory: mmap.mmap) -> list[tuple[str, int, int]]:
    """Return key, place and width of each row."""
    rows, at = [], _USED.size
    (used,) = _USED.unpack_from(memory)
    while at < used:
        length, width = _HEAD.unpack_from(memory, at)
        first = at + _padded(_HEAD.size + length)
        key = memory[at + _HEAD.size : at + _HEAD.size + length].decode()
        rows.append((key, first // _CELL, width))
        at = first + width * _CELL
    return rows


def _padded(size: int) -> int:
    return -(-size // _CELL) * _CELL


def _anonymous() -> int:
    """Return a descriptor of memory without a name.

    Not of a file on a disk: a page of one that is being written back stops whoever writes to it
    (https://www.evanjones.ca/jvm-mmap-pause.html), and our disk is busy with fsync.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("offhook-metrics")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
