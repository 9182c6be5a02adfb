"""An arrival, as the log keeps it: a webhook that was acknowledged, and is yet to be sorted."""

import struct
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from offhook.core.keys import Kind

# The kind, when it was received, and how many bytes of form follow.
_HEAD: Final = struct.Struct(">BqI")
_KINDS: Final = (Kind.MESSAGE, Kind.STATUS, Kind.DEFERRED)  # their places are in files: append only
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


class Arrival(NamedTuple):
    """A webhook that was believed, or a request that is yet to be.

    Attributes:
        kind: of the route; DEFERRED for a request that is yet to be verified.
        received: milliseconds, by the clock of the store.
        form: the parameters as they came; of a deferred request, all of it (`deferral.write`).
    """

    kind: Kind
    received: int
    form: bytes

    def __repr__(self) -> str:
        """Leave out what a person wrote."""
        return f"Arrival({self.kind}, {self.received})"


def pack(arrivals: Iterable[Arrival]) -> bytes:
    """Return a batch as bytes."""
    head, numbers = _HEAD.pack, _NUMBERS
    return b"".join(
        [
            part
            for kind, received, form in arrivals
            for part in (head(numbers[kind], received, len(form)), form)
        ]
    )


def unpack(batch: bytes) -> Iterator[Arrival]:
    """Yield the arrivals of a batch, in their order.

    Raises:
        ValueError: it is none.
    """
    at = 0
    while at < len(batch):
        begin = at + _HEAD.size
        try:
            number, received, length = _HEAD.unpack_from(batch, at)
            kind = _KINDS[number]
        except (struct.error, IndexError):
            raise ValueError(f"no arrival begins at byte {at}") from None
        at = begin + length
        if at > len(batch):
            raise ValueError(f"the arrival that begins at byte {begin} is cut")
        yield Arrival(kind, received, batch[begin:at])
