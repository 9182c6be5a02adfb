"""The faults that the simulated Twilio can inject."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Trouble:
    """The faults that a `Simulator` injects; none by default.

    Shares are probabilities in [0, 1], drawn from the simulator's own seeded generator. Replace
    it while the simulator runs: `sim.trouble = Trouble(lost_answers=1)`.

    Attributes:
        duplicates: additional deliveries of each webhook and status callback.
        duplicates_at_once: deliver them concurrently with the first, not after its response.
        webhook_delay: seconds before a webhook's request is sent.
        reorder_statuses: deliver a message's status callbacks in reverse order.
        early_status: deliver the first status callback before the REST response.
        unauthenticated: share of sends answered 401 (error 20003), and not accepted.
        rate_limited: share of sends answered 429, and not accepted.
        limit_code: the error code of those: 20429, or 63038 for a daily limit.
        retry_after: seconds in the `Retry-After` of those; None omits the header.
        lost_answers: share of sends that are accepted, after which the connection breaks.
        server_errors: share of sends that are accepted, but answered 500.
        answer_delay: seconds between accepting a send and answering it.
        media_missing: how often each file of a message is answered 404 before it is there.
        endless_media: files never end.
        list_lag: seconds until an accepted message is in the message list.
        failing_pages: pages of the message list, from 0, that are answered 500.
        undelivered: error codes by number: sends to it are `sent`, then `undelivered`.
        failed: error codes by number: sends to it are accepted, then `failed`.
        whatsapp_window: seconds after a person's last WhatsApp message to a number, after which
            texts from it are `sent`, then `undelivered` (error 63016); templates are delivered.
            Twilio's are 86,400; None for no end.
    """

    duplicates: int = 0
    duplicates_at_once: bool = False
    webhook_delay: float = 0.0
    reorder_statuses: bool = False
    early_status: bool = False
    unauthenticated: float = 0.0
    rate_limited: float = 0.0
    limit_code: int = 20429
    retry_after: int | None = None
    lost_answers: float = 0.0
    server_errors: float = 0.0
    answer_delay: float = 0.0
    media_missing: int = 0
    endless_media: bool = False
    list_lag: float = 0.0
    failing_pages: Collection[int] = ()
    undelivered: Mapping[str, int] = field(default_factory=dict)
    failed: Mapping[str, int] = field(default_factory=dict)
    whatsapp_window: float | None = None
