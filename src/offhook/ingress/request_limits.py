"""Limit the bytes of a request, other than those of its body."""

from collections.abc import Sequence
from itertools import chain
from typing import Final

from offhook.core.responses import Fault
from offhook.ingress.exchange import Refusal

HEAD_BYTES: Final = 64 * 1024
"""Of a request's line and headers. A GET has the message in its line: 1,600 characters, each of
which takes up to 12 when it is encoded."""

FRAMING_BYTES: Final = 16 * 1024
"""Of a request, beyond its head and its body: the sizes and extensions of chunks, and trailers. A
body of 64 KiB needs a few hundred, unless it is cut into tiny chunks."""

TRAILERS: Final = 100
"""Trailers of a request."""

BLANK_BYTES: Final = 1024
"""Of blank lines before a request, which a server should ignore (RFC 9112, 2.2)."""

HEADERS: Final = 100
"""Headers of a request. Twilio sends about ten, and a proxy adds as many."""

PIPELINED: Final = 8
"""Requests that may wait for the answers to earlier ones of their connection. A chunk of 256 KB can
hold ten thousand, and each takes 2 KB of memory."""

SLICE: Final = 16 * 1024
"""Bytes that the parser gets at a time, with a check in between: uvloop reads 256 KB at once, which
may be 50,000 headers and take 40 ms."""


def check_head(target: bytes, headers: Sequence[tuple[bytes, bytes]], fed: int) -> None:
    """Check the limits of a whole head.

    All at once: header by header would take six times as long, and until the last one they are
    bounded by the bytes fed.

    Args:
        target: of the request.
        headers: of the request.
        fed: the bytes that the parser was given for it, or up to a slice less.

    Raises:
        Refusal: it exceeds them.
    """
    if len(headers) > HEADERS:
        raise Refusal(Fault.HEAD_TOO_LARGE)
    if fed > HEAD_BYTES - SLICE:  # it may be too large
        size = len(target) + sum(map(len, chain.from_iterable(headers)))
        if size > HEAD_BYTES:
            raise Refusal(Fault.HEAD_TOO_LARGE)


class Trailers(list[tuple[bytes, bytes]]):
    """Drops a request's trailers, and counts them.

    To add them to the headers would be to believe them: no proxy has checked them, and Twilio sends
    none (RFC 9110, 6.5.1).
    """

    seen = 0

    def append(self, _field: tuple[bytes, bytes], /) -> None:
        """Count one.

        Raises:
            Refusal: there are too many.
        """
        self.seen += 1
        if self.seen > TRAILERS:
            raise Refusal(Fault.FRAMING_TOO_LARGE)
