"""Counters in shared memory: one process writes, others read.

The supervisor owns the memory, not the writing process: the counts of a killed process remain, its
successor continues them, and a counter never decreases. There are no files to clean up.
docs/decisions/0010-metrics-across-processes.md has the measurements.

Layout: eight bytes with the used size; then rows of key length, number of values, key, values.
"""

import mmap
import os
import struct
import tempfile
import threading
from collections.abc import Iterable
from typing import Final, Self

_SPARE: Final = 64  # values at the end, for rows that do not fit

SIZE: Final = 256 * 1024
"""Size in bytes; only written pages take memory. Labels are bounded."""

_USED: Final = struct.Struct("=Q")
_HEAD: Final = struct.Struct("=II")
_CELL: Final = 8  # bytes of a value; rows begin at a multiple of it


class SharedMemory:
    """Memory for one process' counters, created by the parent of writer and readers."""

    def __init__(self) -> None:
        self._descriptor = _anonymous()
        os.ftruncate(self._descriptor, SIZE)

    def fileno(self) -> int:
        """Return the descriptor, for processes that inherit it."""
        return self._descriptor


class SharedCounters:
    """The counters of one process, its only writer.

    Values are updated in place: `counters.numbers[place] += 1`. A reader may see a row with values
    of two moments, never half a value.

    Args:
        memory: of `SIZE` bytes. Existing rows are continued.

    Attributes:
        memory: the same, for readers in this process.
        numbers: all values.
    """

    def __init__(self, memory: mmap.mmap) -> None:
        self.memory = memory
        self.numbers: memoryview[float] = memoryview(memory).cast("d")
        self._places = {key: place for key, place, _ in _rows(memory)}
        self._used = _USED.unpack_from(memory)[0] or _USED.size
        self._adding = threading.Lock()

    @classmethod
    def inherited(cls, descriptor: int) -> Self:
        """Return the counters in memory created by the parent. Closes the descriptor."""
        memory = mmap.mmap(descriptor, SIZE)
        os.close(descriptor)
        return cls(memory)

    @classmethod
    def alone(cls) -> Self:
        """Return counters in private memory."""
        return cls(mmap.mmap(-1, SIZE))

    def place(self, key: str, width: int = 1) -> int:
        """Return the offset of a key's values, adding them as zeros if they are missing.

        If the memory is full, returns the offset of values that are not read.

        Args:
            key: names the row.
            width: its number of values, always the same for a key.
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
        self.memory[first:end] = bytes(end - first)  # a writer may have died while adding a row
        self._used = end
        _USED.pack_into(self.memory, 0, end)  # last: a reader sees whole rows
        return first // _CELL


def inherited(descriptor: int) -> mmap.mmap:
    """Map another process' counters for reading. The descriptor stays open."""
    return mmap.mmap(descriptor, SIZE, access=mmap.ACCESS_READ)


def read(memory: mmap.mmap) -> dict[str, tuple[float, ...]]:
    """Return all rows, which another process may be writing."""
    return {
        key: struct.unpack_from(f"={width}d", memory, place * _CELL)
        for key, place, width in _rows(memory)
    }


def totals(counters: Iterable[mmap.mmap]) -> dict[str, tuple[float, ...]]:
    """Return the rows of several processes, summed by key."""
    total: dict[str, tuple[float, ...]] = {}
    for memory in counters:
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
    """Return a descriptor of anonymous memory.

    Not of a file on a disk: a page that is being written back blocks its writers
    (https://www.evanjones.ca/jvm-mmap-pause.html), and our disk is busy with fsync.
    """
    if hasattr(os, "memfd_create"):
        return os.memfd_create("offhook-metrics")
    with tempfile.TemporaryFile() as file:
        return os.dup(file.fileno())
