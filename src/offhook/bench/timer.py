"""A timer precise to microseconds that does not busy-wait, where the kernel has timerfd."""

import asyncio
import ctypes
import os
import sys
from time import perf_counter
from typing import Final

_BUSY_WAIT: Final = (
    0.002  # seconds; event loops' timers have a resolution of 1 ms, so the rest is busy-waited
)

# From <sys/timerfd.h> and <time.h>. `os.timerfd_create` comes with Python 3.13.
_CLOCK_MONOTONIC: Final = 1  # the clock of `perf_counter`, on Linux
_TFD_CLOEXEC: Final = 0o2000000
_TFD_NONBLOCK: Final = 0o4000
_TFD_TIMER_ABSTIME: Final = 1


class Timer:
    """Wait until a `perf_counter` time, one at a time, on the event loop it was made on.

    On Linux, timerfd becomes readable at that time. Elsewhere the last 2 ms are busy-waited, which
    takes CPU time from the server under test.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._expiry: asyncio.Future[None] | None = None
        self._fd = _timer()
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._expired)

    async def at(self, moment: float) -> None:
        """Wait until a moment; return at once if it has passed."""
        while (wait := moment - perf_counter()) > 0:
            if self._fd < 0:
                await asyncio.sleep(wait - _BUSY_WAIT / 2 if wait > _BUSY_WAIT else 0)
            else:
                self._expiry = self._loop.create_future()
                _set(self._fd, moment)
                await self._expiry

    def close(self) -> None:
        """Release the timer."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _expired(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set again since it became readable
            return
        if self._expiry is not None and not self._expiry.done():
            self._expiry.set_result(None)


class _Setting(ctypes.Structure):
    """`struct itimerspec`: an interval, which is not used, and the expiry."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


_LIBRARY: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def _timer() -> int:
    """Return the descriptor of a new timerfd; -1 where there is none."""
    if _LIBRARY is None:
        return -1
    return int(_LIBRARY.timerfd_create(_CLOCK_MONOTONIC, _TFD_CLOEXEC | _TFD_NONBLOCK))


def _set(fd: int, moment: float) -> None:
    seconds, nanoseconds = divmod(int(moment * 1e9), 1_000_000_000)
    setting = _Setting(0, 0, seconds, nanoseconds)
    if _LIBRARY is not None:
        _LIBRARY.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None)
