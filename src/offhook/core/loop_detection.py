"""Detect two bots talking to each other, by answers that come faster than a person's.

docs/decisions/0026-turns-without-a-human-pace.md has the rule's reasons and measurements.
"""

from dataclasses import dataclass
from typing import Final

PACE: Final = 1.0
"""Seconds from Twilio's acceptance of our reply to the receipt of its answer. Delivery in both
directions takes a part of it; in the rest, no person reads and answers repeatedly."""

PROBE: Final = 3.0
"""Seconds for which some messages are delayed after their receipt once a loop is likely. A burst
from a person (of a phone that was offline, say) has arrived by then, and counts once."""

COUNTED_REPLIES: Final = 200
"""The number of latest replies in a conversation that are considered: enough for twenty turns."""

_PROBED: Final = 5
"""Minimum number of turns between two probes."""


@dataclass(frozen=True, slots=True)
class LoopRule:
    """Which turns a claim counts: replies of ours that were answered at a program's pace.

    Attributes:
        within: seconds to look back.
        pace: seconds within which a reply must be answered to count.
    """

    within: float
    pace: float = PACE


def hold(turns: int, limit: int, waited: float) -> float:
    """Return the seconds to delay the answer, which happens at each quarter of the limit.

    Not at every turn: two bots that both delay their answers would both look slow to each other.

    Args:
        turns: answered at a program's pace.
        limit: the number of turns at which the message is parked.
        waited: seconds since its receipt; negative if the clock was set back.
    """
    if not turns or turns % max(_PROBED, limit // 4):
        return 0.0
    return PROBE - min(max(waited, 0.0), PROBE)
