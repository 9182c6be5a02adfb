"""What can go wrong with the simulated Twilio, on demand."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trouble:
    """How a `Simulator` misbehaves; by default it does not.

    Shares are probabilities in [0, 1], drawn from the simulator's own seeded generator. Exchange
    it while the simulator runs: `sim.trouble = Trouble(lost_answers=1)`.

    Attributes:
        duplicates: how many more times each webhook and status callback is delivered.
        duplicates_at_once: deliver them beside the first, not after it was answered.
        webhook_delay: seconds that a webhook's request is under way before it arrives.
        reorder_statuses: a message's status callbacks come last first.
        early_status: the first status callback is delivered before the REST answer is given.
        rate_limited: share of sends answered 429, and not accepted.
        retry_after: seconds in the `Retry-After` of those; None leaves the header out.
        lost_answers: share of sends that are accepted and whose connection then breaks.
        server_errors: share of sends that are accepted and then answered 500.
        answer_delay: seconds between accepting a send and answering it.
        undelivered: error codes by number: sends to it are `sent`, then `undelivered`.
        failed: error codes by number: sends to it are accepted, then `failed`.
    """

    duplicates: int = 0
    duplicates_at_once: bool = False
    webhook_delay: float = 0.0
    reorder_statuses: bool = False
    early_status: bool = False
    rate_limited: float = 0.0
    retry_after: int | None = None
    lost_answers: float = 0.0
    server_errors: float = 0.0
    answer_delay: float = 0.0
    undelivered: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
