"""An arrival, as the log keeps it: a webhook that was acknowledged, and is yet to be sorted."""

import struct
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from offhook.core.inbound import Inbound
from offhook.core.keys import KEY_BYTES, Kind

# The kind; when it was received; when its notice is due, 0 for never; the key; and how long the
# texts are that follow, and the form.
_HEAD: Final = struct.Struct(f">Bqq{KEY_BYTES}sIIIIII")
_CHECKSUM: Final = struct.Struct(">I")
NS_OF_S: Final = 1_000_000_000
_KINDS: Final = (Kind.MESSAGE, Kind.STATUS, Kind.DEFERRED)  # their places are in files: append only
_NUMBERS: Final = {kind: number for number, kind in enumerate(_KINDS)}


class Arrival(NamedTuple):
    """A webhook that was acknowledged.

    Attributes:
        inbound: the webhook, whose `age` counts from `received`.
        received: when it was, in nanoseconds of the store's clock.
    """

    inbound: Inbound
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
            number, received, notice, key, *lengths, length = _HEAD.unpack_from(batch, at)
            kind = _KINDS[number]
        except (struct.error, IndexError):
            raise ValueError(f"no arrival begins at byte {at}") from None
        at = begin + sum(lengths) + length
        if at > len(batch):
            raise ValueError(f"the arrival that ends at byte {at} is cut")
        texts = []
        for size in lengths:
            texts.append(batch[begin : begin + size].decode("utf-8", "surrogatepass"))
            begin += size
        lane, account_sid, sid, sender, recipient = texts
        inbound = Inbound(
            kind, key, lane, account_sid, sid, sender, recipient, batch[begin:at],
            (notice - received) / NS_OF_S if notice else None,
        )  # fmt: skip
        yield Arrival(inbound, received)


def _parts(inbound: Inbound, received: int) -> tuple[bytes, ...]:
    kind, key, lane, account_sid, sid, sender, recipient, form, notice_after, _, _ = inbound
    texts = [
        text.encode("utf-8", "surrogatepass")
        for text in (lane, account_sid, sid, sender, recipient)
    ]
    notice = 0 if notice_after is None else received + round(notice_after * NS_OF_S)
    head = _HEAD.pack(_NUMBERS[kind], received, notice, key, *map(len, texts), len(form))
    return head, *texts, form
