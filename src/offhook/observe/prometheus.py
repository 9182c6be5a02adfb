"""Count events in memory that another process reads.

The client library's own multiprocess counters share files and take 7 us for one answered webhook;
this takes 1 (docs/decisions/0010-metrics-across-processes.md). The library renders the scrapes.
"""

import json
import os
import re
import threading
from bisect import bisect_left
from typing import Final

from offhook.clock import elapsed
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.core.unknown_sends import Finding
from offhook.events import (
    Answered,
    Event,
    Handled,
    LookedUp,
    Problem,
    Reported,
    Sent,
    Sorted,
    Topic,
)
from offhook.observe.metrics import (
    ACTIVE_PROBLEMS,
    DELIVERIES,
    LOOKED_UP,
    PHASES,
    PROBLEMS,
    RUN_TIME,
    RUNS,
    SEND_TIME,
    SENDS,
    SORTED,
    WAIT,
    WEBHOOKS,
    Metric,
)
from offhook.observe.shared_counters import SharedCounters

PROCESS: Final = "process"
"""The row that identifies the writing process: its id, and when it began, by `clock.elapsed`."""

_Phases = tuple[int, int, int, int]  # offsets of their rows


class PrometheusObserver:
    """Counts events as metrics.

    Args:
        counters: of which this process is the only writer.
    """

    def __init__(self, counters: SharedCounters) -> None:
        self._counters = counters
        self._numbers = counters.numbers
        self._places: dict[tuple[str, ...], int] = {}
        self._answers: dict[tuple[bool, int, bool, str, str, bool], tuple[int, _Phases]] = {}
        # A worker's heartbeat thread reports problems too.
        self._lock = threading.Lock()
        self._sign()
        self._begin()

    def __call__(self, event: Event) -> None:
        """Count one event."""
        match event:
            case Answered():
                self._count_answer(event)
            case Sorted():
                self._numbers[self._place(SORTED, "new")] += event.new
                self._numbers[self._place(SORTED, "repeated")] += event.repeated
            case Handled():
                self._count_run(event)
            case Sent():
                self._count_send(event)
            case Reported():
                self._numbers[self._place(DELIVERIES, event.status, event.code)] += 1
            case LookedUp():
                self._numbers[self._place(LOOKED_UP, event.finding)] += 1
            case Problem():
                self._count_problem(event)

    def _count_answer(self, event: Answered) -> None:
        # Not the kind itself: hashing an enum is a Python call.
        key = (
            event.kind is Kind.STATUS, event.status, event.repeat, event.error, event.cached,
            event.deferred,
        )  # fmt: skip
        found = self._answers.get(key)
        if found is None:
            found = self._answers[key] = self._answer_places(event)
        place, (validate, enqueue, acknowledge, total) = found
        self._numbers[place] += 1
        _observe(self._numbers, validate, PHASES.buckets, event.validate)
        if event.enqueue:
            _observe(self._numbers, enqueue, PHASES.buckets, event.enqueue)
        _observe(self._numbers, acknowledge, PHASES.buckets, event.acknowledge)
        _observe(self._numbers, total, PHASES.buckets, event.total)

    def _answer_places(self, event: Answered) -> tuple[int, _Phases]:
        outcome = "refused" if event.error else "accepted"
        place = self._place(
            WEBHOOKS, event.kind, str(event.status), _result(event), event.error, event.cached
        )
        return place, (
            self._place(PHASES, "validate", outcome),
            self._place(PHASES, "enqueue", outcome),
            self._place(PHASES, "acknowledge", outcome),
            self._place(PHASES, "total", outcome),
        )

    def _count_run(self, event: Handled) -> None:
        self._numbers[self._place(RUNS, event.kind, event.trigger)] += 1
        _observe(self._numbers, self._place(RUN_TIME, event.kind), RUN_TIME.buckets, event.took)
        if event.attempt == 1:  # later attempts wait on purpose
            _observe(self._numbers, self._place(WAIT, event.kind), WAIT.buckets, event.waited)

    def _count_send(self, event: Sent) -> None:
        what = re.match("reply|return|notice|key", event.identity)
        known = "fallback" if event.fell_back else what[0] if what else "key"
        self._numbers[self._place(SENDS, known, event.trigger)] += 1
        _observe(self._numbers, self._place(SEND_TIME), SEND_TIME.buckets, event.took)

    def _count_problem(self, event: Problem) -> None:
        with self._lock:
            if not event.resolved:
                self._numbers[self._place(PROBLEMS, event.topic)] += 1
            if event.topic.lasting:
                self._numbers[self._place(ACTIVE_PROBLEMS, event.topic)] = not event.resolved

    def _place(self, metric: Metric, *labels: str) -> int:
        key = (metric.name, *labels)
        found = self._places.get(key)
        if found is None:
            found = self._places[key] = self._counters.place(json.dumps(key), metric.width)
        return found

    def _sign(self) -> None:
        place = self._counters.place(PROCESS, 2)
        self._numbers[place], self._numbers[place + 1] = os.getpid(), elapsed()

    def _begin(self) -> None:
        """Create the rows whose first count must show as an increase, and reset gauges.

        Gauges are per process: the predecessor's values no longer hold.
        """
        for kind, code in ((Kind.MESSAGE, "200"), (Kind.STATUS, "204")):
            for result in ("stored", "repeated"):
                self._place(WEBHOOKS, kind, code, result, "", "")
        for result in ("new", "repeated"):
            self._place(SORTED, result)
        for trigger in (Trigger.COMPLETE, Trigger.RETRY, Trigger.GIVE_UP):
            self._place(RUNS, Kind.MESSAGE, trigger)
        for outcome in (SendTrigger.ACCEPT, SendTrigger.REFUSE, SendTrigger.LOSE):
            self._place(SENDS, "return", outcome)
        for status in ("delivered", "undelivered", "failed"):
            self._place(DELIVERIES, status, "")
        for finding in Finding:
            self._place(LOOKED_UP, finding)
        for topic in Topic:
            if topic.lasting:
                self._numbers[self._place(ACTIVE_PROBLEMS, topic)] = 0


def _result(event: Answered) -> str:
    if event.error:
        return "refused"
    if event.repeat:
        return "repeated"
    return "deferred" if event.deferred else "stored"


def _observe(
    numbers: "memoryview[float]", place: int, buckets: tuple[float, ...], value: float
) -> None:
    numbers[place + bisect_left(buckets, value)] += 1
    numbers[place + len(buckets) + 1] += value
