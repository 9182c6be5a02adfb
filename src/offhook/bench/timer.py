"""Waiting for a moment to within microseconds, without occupying a core until then."""

import asyncio
import ctypes
import os
import sys
from time import perf_counter
from typing import Final

_SPIN: Final = (
    0.002  # event loops' timers are 1 ms coarse: what is due sooner is waited for actively
)

# From <sys/timerfd.h> and <time.h>. `os.timerfd_create` comes with Python 3.13.
_CLOCK_MONOTONIC: Final = 1  # the clock of `perf_counter`, on Linux
_TFD_CLOEXEC: Final = 0o2000000
_TFD_NONBLOCK: Final = 0o4000
_TFD_TIMER_ABSTIME: Final = 1


class Alarm:
    """Waits for moments of `perf_counter`, one at a time, on the event loop it was made on.

    The kernel's timer is a file that becomes readable (timerfd, Linux). Elsewhere the last 2 ms
    are waited for actively: a core that the server under test cannot have.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._rung: asyncio.Future[None] | None = None
        self._fd = _timer()
        if self._fd >= 0:
            self._loop.add_reader(self._fd, self._ring)

    async def at(self, moment: float) -> None:
        """Return at a moment, or at once if it has passed."""
        while (wait := moment - perf_counter()) > 0:
            if self._fd < 0:
                await asyncio.sleep(wait - _SPIN / 2 if wait > _SPIN else 0)
            else:
                self._rung = self._loop.create_future()
                _set(self._fd, moment)
                await self._rung

    def close(self) -> None:
        """Wait for nothing any more."""
        if self._fd >= 0:
            self._loop.remove_reader(self._fd)
            os.close(self._fd)
            self._fd = -1

    def _ring(self) -> None:
        try:
            os.read(self._fd, 8)
        except BlockingIOError:  # set anew between the ringing and now
            return
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)


class _Setting(ctypes.Structure):
    """`struct itimerspec`: an interval, which is not used, and the moment."""

    _fields_ = (
        ("interval_seconds", ctypes.c_long),
        ("interval_nanoseconds", ctypes.c_long),
        ("seconds", ctypes.c_long),
        ("nanoseconds", ctypes.c_long),
    )


_LIBRARY: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def _timer() -> int:
    """Return a new timer; -1 where there is none."""
    if _LIBRARY is None:
        return -1
    return int(_LIBRARY.timerfd_create(_CLOCK_MONOTONIC, _TFD_CLOEXEC | _TFD_NONBLOCK))


def _set(fd: int, moment: float) -> None:
    seconds, nanoseconds = divmod(int(moment * 1e9), 1_000_000_000)
    setting = _Setting(0, 0, seconds, nanoseconds)
    if _LIBRARY is not None:
        _LIBRARY.timerfd_settime(fd, _TFD_TIMER_ABSTIME, ctypes.byref(setting), None)
