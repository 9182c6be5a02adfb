"""Whether it is worthwhile to ask Redis: an answer costs CPU, and somebody waits for it."""

from typing import Final

MISSES: Final = 256
"""So many questions in vain, and it is asked for a few requests only."""

SAMPLE: Final = 64
"""Then for one in so many: enough to notice when repeats begin to come."""


class Interest:
    """Loses heart after questions in vain, and takes heart again with the first repeat.

    When all is well there are no repeats: Twilio sends a webhook once. Then asking for each makes
    a fresh request slower, to no end. It matters when repeats do come, for then many do (a store
    that was slow, a process that was killed), and the store itself tells of the first.
    """

    def __init__(self) -> None:
        self._misses = 0
        self._passed_over = 0

    def wanted(self) -> bool:
        """Return whether to ask for this request."""
        if self._misses < MISSES:
            return True
        self._passed_over = (self._passed_over + 1) % SAMPLE
        return self._passed_over == 0

    def miss(self) -> None:
        """Note a question in vain."""
        self._misses += 1

    def repeat(self) -> None:
        """Note a repeat that this process had not seen, however it was found."""
        self._misses = 0
