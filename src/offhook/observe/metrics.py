"""All metrics: names, labels, buckets. The reference documentation is generated from here.

Names follow https://prometheus.io/docs/practices/naming/. The values of labels are bounded by the
code, never taken from a request.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


class MetricType(StrEnum):
    """The type of a metric."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"


@dataclass(frozen=True, slots=True)
class Metric:
    """A metric.

    Attributes:
        name: as scraped; of a histogram, without `_bucket`, `_sum` and `_count`.
        text: its help text.
        labels: the names of its labels.
        buckets: upper bounds of a histogram's buckets, without infinity.
    """

    name: str
    type: MetricType
    text: str
    labels: tuple[str, ...] = ()
    buckets: tuple[float, ...] = ()

    @property
    def width(self) -> int:
        """The number of values per combination of labels.

        For a histogram: one per bucket, one for larger observations, and the sum.
        """
        return len(self.buckets) + 2 if self.type is MetricType.HISTOGRAM else 1


# The budgets are 0.1, 0.2 and 0.5 s (DESIGN, section 6), alerts look at 1 and 3 s, Twilio waits
# 15 s. Below that, fine enough to see 0.5 ms become 1.
_ANSWER: Final = (
    0.00025, 0.0005, 0.001, 0.002, 0.003, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 3.0,
    5.0, 15.0,
)  # fmt: skip
_LONG: Final = (0.005, 0.02, 0.1, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
_REST: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0)

_C, _G, _H = MetricType.COUNTER, MetricType.GAUGE, MetricType.HISTOGRAM

WEBHOOKS: Final = Metric(
    "offhook_webhooks_total",
    _C,
    "Webhooks answered.",
    ("kind", "code", "result", "error", "cached"),
)
PHASES: Final = Metric(
    "offhook_webhook_phase_seconds",
    _H,
    "Time that answering took, by phase and in all.",
    ("phase", "outcome"),
    _ANSWER,
)
SORTED: Final = Metric(
    "offhook_webhooks_sorted_total",
    _C,
    "Webhooks moved from arrivals logs, or from the spool, into the store.",
    ("result",),
)
RUNS: Final = Metric(
    "offhook_handler_runs_total", _C, "Runs of handlers that have ended.", ("kind", "trigger")
)
RUN_TIME: Final = Metric("offhook_handler_seconds", _H, "Time that a run took.", ("kind",), _LONG)
WAIT: Final = Metric(
    "offhook_handler_wait_seconds",
    _H,
    "Time from receipt to the start of the first run.",
    ("kind",),
    _LONG,
)
SENDS: Final = Metric(
    "offhook_sends_total",
    _C,
    "Attempts to send that have ended; `what` is `fallback` for templates instead of texts.",
    ("what", "trigger"),
)
SEND_TIME: Final = Metric("offhook_send_seconds", _H, "Time until Twilio had answered.", (), _REST)
DELIVERIES: Final = Metric(
    "offhook_deliveries_total",
    _C,
    "Status callbacks of replies, by status and by Twilio's error code.",
    ("status", "code"),
)
LOOKED_UP: Final = Metric(
    "offhook_unknown_sends_looked_up_total",
    _C,
    "Unknown sends looked up in Twilio's message list.",
    ("finding",),
)
PROBLEMS: Final = Metric(
    "offhook_troubles_total", _C, "Problems that were reported, by topic.", ("topic",)
)
ACTIVE_PROBLEMS: Final = Metric(
    "offhook_trouble_active", _G, "Processes with a problem that is not resolved.", ("topic",)
)
STORE_UP: Final = Metric("offhook_store_up", _G, "1 if the store could be read.")
MESSAGES: Final = Metric(
    "offhook_store_messages",
    _G,
    "Webhooks in the store; those in this machine's arrivals logs count as open.",
    ("state",),
)
LEDGER: Final = Metric("offhook_store_sends", _G, "Replies and notices in the store.", ("state",))
OLDEST: Final = Metric(
    "offhook_store_oldest_seconds",
    _G,
    "How long the oldest webhook that is not settled has waited; 0 when none waits.",
)
RECEIVED: Final = Metric(
    "offhook_store_received_last_minute", _G, "Webhooks stored in the last minute."
)
SETTLED: Final = Metric(
    "offhook_store_settled_last_minute", _G, "Webhooks settled in the last minute."
)
PROCESSES: Final = Metric(
    "offhook_processes", _G, "Processes of this machine that are at work.", ("role",)
)
PROCESS_CPU: Final = Metric(
    "offhook_process_cpu_seconds_total", _C, "CPU time used by a process.", ("process",)
)
PROCESS_MEMORY: Final = Metric(
    "offhook_process_resident_memory_bytes", _G, "Memory of a process.", ("process",)
)
UNRESOLVED: Final = Metric(
    "offhook_store_unresolved_sends",
    _G,
    "Sends that have been unknown for ten minutes, and for less than a day.",
)
OLDEST_SEND: Final = Metric(
    "offhook_store_oldest_send_seconds",
    _G,
    "How long the oldest reply that is not sent yet has waited; 0 when none waits.",
)
SHORTFALLS: Final = Metric(
    "offhook_store_undelivered_sends",
    _G,
    "Replies that reached nobody, by state and Twilio's error code: pending although tried (one a "
    "conversation), failed, or undelivered. At most 1,000 of a state.",
    ("state", "code"),
)
UNANSWERED: Final = Metric(
    "offhook_store_unanswered_people",
    _G,
    "People whose message has settled, and whom none of the replies to it has reached.",
)
SPOOLED: Final = Metric(
    "offhook_spool_messages", _G, "Webhooks in this machine's spool, which the store has not yet."
)
HOST_CPU: Final = Metric(
    "offhook_host_cpu_seconds_total", _C, "CPU time of the machine.", ("mode",)
)
HOST_MEMORY: Final = Metric(
    "offhook_host_memory_used_ratio", _G, "The share of the machine's memory that is in use."
)
DISK: Final = Metric(
    "offhook_disk_used_ratio", _G, "The share of a disk that is in use.", ("what",)
)
ALERTS: Final = Metric(
    "offhook_alert_active", _G, "1 for each alert that is raised.", ("alert", "level")
)
BUILD: Final = Metric("offhook_build_info", _G, "1, for this version.", ("version",))

COUNTED: Final = (
    WEBHOOKS, PHASES, SORTED, RUNS, RUN_TIME, WAIT, SENDS, SEND_TIME, DELIVERIES, LOOKED_UP,
    PROBLEMS, ACTIVE_PROBLEMS,
)  # fmt: skip
"""Metrics that processes count in their `SharedCounters`."""

MEASURED: Final = (
    PROCESSES, PROCESS_CPU, PROCESS_MEMORY, STORE_UP, MESSAGES, LEDGER, OLDEST, RECEIVED, SETTLED,
    UNRESOLVED, OLDEST_SEND, SHORTFALLS, UNANSWERED, SPOOLED, HOST_CPU, HOST_MEMORY, DISK, ALERTS,
    BUILD,
)  # fmt: skip
"""Metrics that are measured at each scrape."""

METRICS: Final = (*COUNTED, *MEASURED)
