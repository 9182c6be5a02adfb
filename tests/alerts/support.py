"""Machines as they are looked at."""

from dataclasses import replace

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, State
from offhook.events import Answered, Event
from offhook.observe.prometheus import PrometheusObserver
from offhook.observe.shared_counters import SharedCounters, read
from offhook.observe.system import Host, Snapshot
from offhook.stores.api import Counts

COUNTS = Counts(dict.fromkeys(State, 0), dict.fromkeys(SendState, 0), None, 0, 0)
ANSWERED = Answered(Kind.MESSAGE, 200, "", False, "SM1", "+15551230001", 0.001, 0.004, 0.001)


class Machine:
    """A machine that does what it is told, at a time of the test's own."""

    def __init__(self) -> None:
        self._counters = SharedCounters.alone()
        self._observer = PrometheusObserver(self._counters)
        self.at = 1_000.0
        self.counts: Counts | None = COUNTS
        self.host = Host()
        self.spooled: int | None = None

    def tell(self, *events: Event, times: int = 1) -> None:
        for event in events * times:
            self._observer(event)

    def set(self, state: State, count: int) -> None:
        self.counts = replace(COUNTS, messages={**COUNTS.messages, state: count})

    def look(self, *, after: float = 0.0) -> Snapshot:
        self.at += after
        return Snapshot(
            self.at, read(self._counters.memory), (), self.counts, self.host, self.spooled
        )
