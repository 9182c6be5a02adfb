"""A bounded mapping whose entries expire."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# Up to two expired entries are removed for each new one, so that they can't accumulate and no
# background task is needed.
_SWEPT_PER_PUT: Final = 2


class TtlDict(Generic[K, V]):
    """Keep values until they expire, within a number of entries and a total size.

    When full, the oldest entry is removed: all have the same lifetime, so it would expire first
    anyway. Every operation takes constant time. The caller passes the time, in seconds.

    Args:
        entries: the maximum number of entries.
        size: the maximum total of their sizes.
    """

    def __init__(self, *, entries: int, size: int) -> None:
        self._limit = entries
        self._size_limit = size
        self._size = 0
        # Ordered: in a plain dict, finding the first key takes longer with every deletion.
        # Each with the moment it expires, and its size.
        self._held: OrderedDict[K, tuple[V, float, int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """The total size of the entries."""
        return self._size

    def get(self, key: K, now: float) -> V | None:
        """Return a value; None if there is none or it has expired."""
        held = self._held.get(key)
        return None if held is None or held[1] <= now else held[0]

    def put(self, key: K, value: V, *, expires: float, now: float, size: int = 1) -> None:
        """Store a value until `expires`, replacing an earlier one."""
        self.drop(key)
        for _ in range(_SWEPT_PER_PUT):
            first = next(iter(self._held.values()), None)
            if first is None or first[1] > now:
                break
            self._drop_first()
        if size > self._size_limit:
            return
        while len(self._held) >= self._limit or self._size + size > self._size_limit:
            self._drop_first()
        self._held[key] = value, expires, size
        self._size += size

    def drop(self, key: K) -> None:
        """Remove a value, if there is one."""
        held = self._held.pop(key, None)
        if held is not None:
            self._size -= held[2]

    def _drop_first(self) -> None:
        _, (_, _, size) = self._held.popitem(last=False)
        self._size -= size
