"""Render metrics in Prometheus' text format or OpenMetrics."""

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate
from typing import Final

from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
)
from prometheus_client.core import Metric as Family
from prometheus_client.exposition import (
    CONTENT_TYPE_PLAIN_0_0_4,
    choose_encoder,
    generate_latest,
)
from prometheus_client.registry import Collector
from prometheus_client.utils import floatToGoString

from offhook.core.lifecycle import SendState
from offhook.observe.metrics import (
    ALERTS,
    BUILD,
    COUNTED,
    DISK,
    HOST_CPU,
    HOST_MEMORY,
    LEDGER,
    MESSAGES,
    OLDEST,
    OLDEST_SEND,
    PROCESS_CPU,
    PROCESS_MEMORY,
    PROCESSES,
    RECEIVED,
    SETTLED,
    SHORTFALLS,
    SPOOLED,
    STORE_UP,
    UNANSWERED,
    UNRESOLVED,
    Metric,
    MetricType,
)
from offhook.observe.system import Host, Process, Snapshot
from offhook.stores.api import Counts

_CODES: Final = 30  # labels at most
_CODE_LENGTH: Final = 6

Numbers = Mapping[tuple[str, ...], tuple[float, ...]]
"""A metric's numbers by the values of its labels."""


class _Scrape(Collector):
    """The families of one scrape, in the form that encoders take."""

    def __init__(self, families: Iterable[Family]) -> None:
        self._families = families

    def collect(self) -> Iterable[Family]:
        return self._families


def exposition(
    snapshot: Snapshot, version: str, accept: str, *, alerts: Iterable[tuple[str, str]] = ()
) -> tuple[bytes, str]:
    """Return the body of a scrape and its content type.

    Args:
        snapshot: of this machine.
        version: of offhook.
        accept: the scraper's Accept header, which asks for OpenMetrics or for the older format.
        alerts: names and levels of the raised alerts.
    """
    raised = family(ALERTS, dict.fromkeys(alerts, (1,)))
    scrape = _Scrape((*families(snapshot, version), raised))
    try:
        encode, content_type = choose_encoder(accept)
        return encode(scrape), content_type
    except Exception:  # noqa: BLE001 - prometheus-client 0.26 raises TypeError for `version=abc`
        return generate_latest(scrape), CONTENT_TYPE_PLAIN_0_0_4


def families(snapshot: Snapshot, version: str) -> tuple[Family, ...]:
    """Return the metric families of a snapshot."""
    return (
        *of_rows(snapshot.rows),
        *of_processes(snapshot.processes),
        *of_store(snapshot.counts),
        *of_host(snapshot.host),
        family(SPOOLED, {} if snapshot.spooled is None else {(): (snapshot.spooled,)}),
        family(BUILD, {(version,): (1,)}),
    )


def of_rows(rows: Mapping[str, tuple[float, ...]]) -> Iterator[Family]:
    """Yield the processes' counters; see `shared_counters.totals`."""
    by_metric: dict[str, dict[tuple[str, ...], tuple[float, ...]]] = {}
    for key, numbers in rows.items():
        if key.startswith("["):
            name, *labels = json.loads(key)
            by_metric.setdefault(name, {})[tuple(labels)] = numbers
    for metric in COUNTED:
        yield family(metric, by_metric.get(metric.name, {}))


def of_processes(processes: Iterable[Process]) -> Iterator[Family]:
    """Yield CPU time and memory of this machine's processes."""
    found = tuple(processes)
    roles = Counter((process.role,) for process in found)
    yield family(PROCESSES, {role: (number,) for role, number in roles.items()})
    yield family(PROCESS_CPU, {(process.name,): (process.cpu,) for process in found})
    yield family(PROCESS_MEMORY, {(process.name,): (process.memory,) for process in found})


def of_store(counts: Counts | None) -> Iterator[Family]:
    """Yield what the store holds. It is the same on every machine: not to be totals up.

    Args:
        counts: None if the store could not be read.
    """
    yield family(STORE_UP, {(): (counts is not None,)})
    if counts is None:
        return
    yield family(MESSAGES, {(state,): (count,) for state, count in counts.messages.items()})
    yield family(LEDGER, {(state,): (count,) for state, count in counts.sends.items()})
    yield family(OLDEST, {(): (counts.oldest or 0.0,)})
    yield family(RECEIVED, {(): (counts.received,)})
    yield family(SETTLED, {(): (counts.settled,)})
    yield family(UNRESOLVED, {(): (counts.unresolved,)})
    yield family(OLDEST_SEND, {(): (counts.oldest_send or 0.0,)})
    yield family(SHORTFALLS, _by_code(counts.shortfalls))
    yield family(UNANSWERED, {(): (counts.unanswered,)})


def _by_code(shortfalls: Mapping[tuple[SendState, str], int]) -> Numbers:
    """Return the numbers by state and code, of few codes: they are Twilio's to make up."""
    numbers: dict[tuple[str, ...], tuple[float, ...]] = {}
    ranked = sorted(shortfalls.items(), key=lambda one: -one[1])
    for place, ((state, code), number) in enumerate(ranked):
        label = code if place < _CODES and len(code) <= _CODE_LENGTH else "other"
        (so_far,) = numbers.get((state, label), (0.0,))
        numbers[state, label] = (so_far + number,)
    return numbers


def of_host(host: Host) -> Iterator[Family]:
    """Yield the machine's CPU time, memory and disks."""
    modes = {"busy": host.cpu_busy, "idle": host.cpu_all - host.cpu_busy}
    yield family(HOST_CPU, {(mode,): (seconds,) for mode, seconds in modes.items()})
    yield family(HOST_MEMORY, {(): (host.memory,)})
    yield family(DISK, {(what,): (share,) for what, share in host.disks.items()})


def family(metric: Metric, numbers: Numbers) -> Family:
    """Return a metric's family with its numbers."""
    name, text, labels = metric.name, metric.text, metric.labels
    match metric.type:
        case MetricType.COUNTER:
            counter = CounterMetricFamily(name, text, labels=labels)
            for values, (number,) in numbers.items():
                counter.add_metric(values, number)
            return counter
        case MetricType.GAUGE:
            gauge = GaugeMetricFamily(name, text, labels=labels)
            for values, (number,) in numbers.items():
                gauge.add_metric(values, number)
            return gauge
        case MetricType.HISTOGRAM:
            histogram = HistogramMetricFamily(name, text, labels=labels)
            bounds = [*map(floatToGoString, metric.buckets), "+Inf"]
            for values, (*counts, total) in numbers.items():
                buckets = list(zip(bounds, accumulate(counts), strict=True))
                histogram.add_metric(values, buckets, total)
            return histogram
