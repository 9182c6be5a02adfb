"""What it costs to count an answered webhook: in shared memory, and in the client's files.

Run `python -m benchmarks.counting`.
"""

import os
import tempfile
import timeit
from collections.abc import Callable
from functools import partial

from offhook.core.keys import Kind
from offhook.events import Answered
from offhook.observe.metrics import PHASES, WEBHOOKS
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.shared_counters import SharedCounters

EVENT = Answered(Kind.MESSAGE, 200, "", False, "SM1", "+15551230001", 0.001, 0.004, 0.001)
TIMES = 100_000


def main() -> None:
    for name, count in (("counters", counters()), ("prometheus_client", library())):
        took = min(timeit.repeat(partial(count, EVENT), number=TIMES, repeat=5))
        print(f"{name:>18}: {took / TIMES * 1e6:5.2f} us an answered webhook")


def counters() -> Callable[[Answered], None]:
    return PrometheusObserver(SharedCounters.alone())


def library() -> Callable[[Answered], None]:
    """Return the same with the library, in its mode for several processes."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = tempfile.mkdtemp()
    from prometheus_client import Counter, Histogram  # noqa: PLC0415 - it reads the variable

    histogram = Histogram(PHASES.name, PHASES.text, PHASES.labels, buckets=PHASES.buckets)
    validate, enqueue, acknowledge, total = (
        histogram.labels(phase, "accepted")
        for phase in ("validate", "enqueue", "acknowledge", "total")
    )
    webhooks = Counter(WEBHOOKS.name, WEBHOOKS.text, WEBHOOKS.labels).labels(
        "message", "200", "stored", "", ""
    )

    def count(event: Answered) -> None:
        webhooks.inc()
        validate.observe(event.validate)
        enqueue.observe(event.enqueue)
        acknowledge.observe(event.acknowledge)
        total.observe(event.total)

    return count


if __name__ == "__main__":
    main()
