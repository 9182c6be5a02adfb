"""The delay before the next attempt."""

from typing import Final

BASE: Final = 1.0
FACTOR: Final = 4.0
CAP: Final = 300.0


def delay(attempt: int, jitter: float, *, base: float = BASE, cap: float = CAP) -> float:
    """Return the seconds to wait after a failed attempt: 1, 4, 16, 64, 256, 300 s, less jitter.

    A person is waiting for the reply, so the first retry comes early; the default five attempts
    still span an outage of a minute.

    Args:
        attempt: the attempt that failed, from 1.
        jitter: in [0, 1), drawn by the caller; shortens the delay by up to half, so that messages
            that failed together are not retried together.
        base: seconds after the first failure, before jitter.
        cap: the longest wait in seconds, before jitter.
    """
    # The exponent is bounded first: 4.0 ** 600 would overflow.
    whole = min(cap, base * FACTOR ** min(max(attempt, 1) - 1, 30))
    return whole * (1.0 - jitter / 2)
