"""When two bots are talking with each other: answers that come faster than any person's.

docs/decisions/0026-turns-without-a-human-pace.md has the rule's reasons and measurements.
"""

from dataclasses import dataclass
from typing import Final

PACE: Final = 1.0
"""Seconds from when Twilio took our reply to the receipt of its answer. Delivery takes a part of it
both ways; in the rest nobody reads and answers, again and again."""

PROBE: Final = 3.0
"""Seconds that some messages wait, from their receipt on, once a loop is likely: what people send
without waiting for answers (a phone that was offline, say) has come by then, and counts once."""

COUNTED_REPLIES: Final = 200
"""The latest of a conversation, which alone are looked at: as many as twenty turns may take."""

_PROBED: Final = 5
"""Turns between two probes, at least."""


@dataclass(frozen=True, slots=True)
class LoopRule:
    """Which turns a claim counts: our replies that were answered at a program's pace.

    Attributes:
        within: seconds that it looks back.
        pace: seconds in which a reply has to be answered.
    """

    within: float
    pace: float = PACE


def hold(turns: int, limit: int, waited: float) -> float:
    """Return the seconds for which the answer is put off: at each quarter of the limit.

    Not at each turn: of two bots that put their answers off both would seem slow, and to both.

    Args:
        turns: answered at a program's pace.
        limit: with so many, the message is parked.
        waited: seconds since its receipt; a clock that was set back makes it less than none.
    """
    if not turns or turns % max(_PROBED, limit // 4):
        return 0.0
    return PROBE - min(max(waited, 0.0), PROBE)
