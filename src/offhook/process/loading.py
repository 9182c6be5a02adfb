"""Load the modules of a process without looking for garbage among them.

There is none, and to look for it takes a tenth of the CPU time of a start. Ctrl-C meanwhile ends
the process without a traceback of what was being loaded.
"""

import gc
import signal
from contextlib import suppress
from typing import Any


def begin() -> None:
    """Collect no garbage from now on, and end at once at SIGINT."""
    gc.disable()
    _replace(signal.default_int_handler, signal.SIG_DFL)


def end() -> None:
    """Collect garbage again, but never scan what is loaded, not even at exit: it stays."""
    gc.freeze()
    gc.enable()
    _replace(signal.SIG_DFL, signal.default_int_handler)


def _replace(old: object, new: Any) -> None:
    """Replace a handler of SIGINT, but no other one: a program may have its own, or ignore it."""
    if signal.getsignal(signal.SIGINT) is old:
        with suppress(ValueError):  # not in the main thread, which takes the signals
            signal.signal(signal.SIGINT, new)
