"""A mapping whose entries end: by their time, or because there are too many."""

from collections import OrderedDict
from collections.abc import Hashable
from typing import Final, Generic, NamedTuple, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

# What expires leaves when something comes: two for one, so that the dead cannot gather, and no
# task is needed to look for them.
_SWEPT_PER_PUT: Final = 2


class _Entry(NamedTuple, Generic[V]):
    value: V
    expires: float
    size: int


class TtlDict(Generic[K, V]):
    """Keeps values until they expire; never more of them, or more bytes, than it was made for.

    When it is full, what was put first leaves first: all live equally long, so that is what would
    end first anyway. Every operation takes constant time. Times are the caller's, in seconds.

    Args:
        entries: how many at most.
        size: the sum of the `size` of all at most.
    """

    def __init__(self, *, entries: int, size: int) -> None:
        self._limit = entries
        self._size_limit = size
        self._size = 0
        # Ordered: a plain dict finds its first key in time that grows with what was deleted.
        self._held: OrderedDict[K, _Entry[V]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._held)

    @property
    def size(self) -> int:
        """The sum of the sizes of what is kept."""
        return self._size

    def get(self, key: K, now: float) -> V | None:
        """Return the value, or None when there is none or its time is over."""
        held = self._held.get(key)
        return None if held is None or held.expires <= now else held.value

    def put(self, key: K, value: V, *, expires: float, now: float, size: int = 1) -> None:
        """Keep a value, in place of an earlier one, until `expires`."""
        self.drop(key)
        for _ in range(_SWEPT_PER_PUT):
            first = next(iter(self._held.values()), None)
            if first is None or first.expires > now:
                break
            self._drop_first()
        if size > self._size_limit:
            return
        while len(self._held) >= self._limit or self._size + size > self._size_limit:
            self._drop_first()
        self._held[key] = _Entry(value, expires, size)
        self._size += size

    def drop(self, key: K) -> None:
        """Forget a value, if there is one."""
        held = self._held.pop(key, None)
        if held is not None:
            self._size -= held.size

    def _drop_first(self) -> None:
        _, held = self._held.popitem(last=False)
        self._size -= held.size
