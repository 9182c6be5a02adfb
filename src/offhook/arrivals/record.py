"""An arrival, as the log keeps it: a webhook as it came, acknowledged, and yet to be sorted."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from offhook.core.inbound import Webhook
from offhook.core.keys import Kind

# The kind; when it was received; when its notice is due, 0 for never; and how long the form is that
# follows.
_HEAD: Final = struct.Struct(">BqqI")
_CHECKSUM: Final = struct.Struct(">I")
NS_OF_S: Final = 1_000_000_000
_KINDS: Final = (Kind.MESSAGE, Kind.STATUS, Kind.DEFERRED)  # their places are in files: append only
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


class Arrival(NamedTuple):
    """A webhook that was acknowledged.

    Attributes:
        webhook: as it came; what it says of itself is read when it is sorted.
        received: when it was, in nanoseconds of the clock that the log goes by.
    """

    webhook: Webhook
    received: int


def pack(arrivals: Iterable[Arrival]) -> bytes:
    """Return a batch as bytes, with a checksum: SQLite has none for what a disk has changed."""
    data = b"".join([part for arrival in arrivals for part in _parts(*arrival)])
    return _CHECKSUM.pack(zlib.crc32(data)) + data


def unpack(batch: bytes) -> Iterator[Arrival]:
    """Yield the arrivals of a batch, in their order.

    Raises:
        ValueError: it is none, or not as it was written.
    """
    at = _CHECKSUM.size
    if batch[:at] != _CHECKSUM.pack(zlib.crc32(memoryview(batch)[at:])):
        raise ValueError("its checksum does not fit: it was changed after it was written")
    while at < len(batch):
        begin = at + _HEAD.size
        try:
            number, received, notice, length = _HEAD.unpack_from(batch, at)
            kind = _KINDS[number]
        except (struct.error, IndexError):
            raise ValueError(f"no arrival begins at byte {at}") from None
        at = begin + length
        if at > len(batch):
            raise ValueError(f"the arrival that ends at byte {at} is cut")
        notice_after = (notice - received) / NS_OF_S if notice else None
        yield Arrival(Webhook(kind, batch[begin:at], notice_after), received)


def _parts(webhook: Webhook, received: int) -> tuple[bytes, bytes]:
    kind, form, notice_after = webhook
    notice = 0 if notice_after is None else received + round(notice_after * NS_OF_S)
    return _HEAD.pack(_NUMBERS[kind], received, notice, len(form)), form
