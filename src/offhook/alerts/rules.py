"""The alert rules: what each reads from a window, and its thresholds.

`deploy/prometheus/` has the same rules for a Prometheus; a test holds the two together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Literal

from offhook.alerts.window import Window
from offhook.core.lifecycle import SendState, State, Trigger
from offhook.core.responses import STORED
from offhook.events import Topic
from offhook.observe.metrics import ACTIVE_PROBLEMS, PHASES, PROBLEMS, RUNS, WEBHOOKS

MIN_EVENTS: Final = 20
"""The fewest answers or runs in a window from which a rate is computed."""

STORED_CODES: Final = tuple(str(int(answer.status)) for answer in STORED.values())
"""The codes of webhooks that were stored: messages', and status callbacks'."""

FAILURE_CODES: Final = ("500", "503")
"""The codes of webhooks that were refused because of us."""


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
"""The reading while a figure is unavailable."""

RAISE_AFTER: Final = 10.0
"""Seconds above a threshold before most rules raise an alert: two readings."""


class Level(StrEnum):
    """The severity of an alert."""

    WARNING = "warning"
    CRITICAL = "critical"


Reading = float | Literal[Unknown.UNKNOWN] | None
"""A number; None without data, as without traffic, which counts as healthy."""

Read = Callable[[Window], Reading]
"""Compute a reading from a window."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A reading and its thresholds.

    Attributes:
        name: kebab-case.
        read: computes the reading.
        text: a sentence on the problem; `{value}` is replaced by the reading with its `unit`.
        remedy: how to fix it.
        warning, critical: thresholds; None for never.
        unit: `s`, `%` or nothing.
        ease: the alert clears below this share of its threshold, so that it does not flap.
        raise_after: seconds above the threshold before the alert is raised.
    """

    name: str
    read: Read
    text: str
    remedy: str
    warning: float | None = None
    critical: float | None = None
    unit: str = ""
    ease: float = 0.8
    raise_after: float = RAISE_AFTER

    def level(self, value: Reading, *, share: float = 1.0) -> Level | None:
        """Return the level of a reading; None below all thresholds.

        Args:
            value: the reading.
            share: by which thresholds are multiplied.
        """
        if value is None or value is UNKNOWN:
            return None
        if self.critical is not None and value > self.critical * share:
            return Level.CRITICAL
        if self.warning is not None and value > self.warning * share:
            return Level.WARNING
        return None

    def sentence(self, value: float) -> str:
        """Return the rule's text with a reading."""
        match self.unit:
            case "%":
                shown = f"{value:.0%}"
            case "s":
                shown = f"{value:.3g} s"
            case _:
                shown = f"{value:g}"
        return self.text.format(value=shown)


def _acknowledging(window: Window) -> float | None:
    # Of accepted webhooks only: refused ones may have been sent slowly on purpose.
    accepted = {"phase": "total", "outcome": "accepted"}
    *counts, _ = window.increase(PHASES, **accepted)
    return window.quantile(0.99, PHASES, **accepted) if sum(counts) >= MIN_EVENTS else None


def _refusing(window: Window) -> float | None:
    """Return the share of webhooks answered 503 or 500, of those plus the stored ones.

    Webhooks refused because of their sender say nothing about us, and anyone can send them.
    """
    ours = sum(window.count(WEBHOOKS, code=code) for code in FAILURE_CODES)
    every = ours + sum(window.count(WEBHOOKS, code=code) for code in STORED_CODES)
    return ours / every if every >= MIN_EVENTS else None


def _failing(window: Window) -> float | None:
    every = window.count(RUNS)
    failed = sum(
        window.count(RUNS, trigger=trigger) for trigger in (Trigger.RETRY, Trigger.GIVE_UP)
    )
    return failed / every if every >= MIN_EVENTS else None


def _backlog_age(window: Window) -> Reading:
    counts = window.now.counts
    return UNKNOWN if counts is None else counts.oldest


def _dead(window: Window) -> Reading:
    counts = window.now.counts
    return UNKNOWN if counts is None else float(counts.messages[State.DEAD])


def _unresolved(window: Window) -> Reading:
    counts = window.now.counts
    return UNKNOWN if counts is None else float(counts.unresolved)


def _oldest_send(window: Window) -> Reading:
    counts = window.now.counts
    return UNKNOWN if counts is None else counts.oldest_send


def _sends_in(state: SendState) -> Read:
    def read(window: Window) -> Reading:
        counts = window.now.counts
        return UNKNOWN if counts is None else float(counts.sends[state])

    return read


def _unanswered(window: Window) -> Reading:
    counts = window.now.counts
    return UNKNOWN if counts is None else float(counts.unanswered)


def _suspecting(window: Window) -> float:
    return window.count(PROBLEMS, topic=Topic.LOOP_SUSPECTED)


def _troubled(topic: Topic) -> Read:
    return lambda window: window.level(ACTIVE_PROBLEMS, topic=topic)


def _spooled(window: Window) -> Reading:
    spooled = window.now.spooled
    return UNKNOWN if spooled is None else float(spooled)


def _store_away(window: Window) -> float:
    return float(window.now.counts is None)


def _cpu(window: Window) -> float | None:
    before, now = window.before.host, window.now.host
    passed = now.cpu_all - before.cpu_all
    return (now.cpu_busy - before.cpu_busy) / passed if passed > 0 else None


def _memory(window: Window) -> float:
    return window.now.host.memory


def _disk(window: Window) -> float | None:
    return max(window.now.host.disks.values(), default=None)


RULES: Final = (
    Rule(
        "acknowledge-time", _acknowledging, unit="s", warning=1.0, critical=3.0,
        text="1 % of webhooks take {value} or longer to answer",
        remedy="Find the slow phase (offhook_webhook_phase_seconds): validate is CPU or "
        "@app.credentials, enqueue is the store's disk. Add ingresses or a faster disk.",
    ),
    Rule(
        "backlog-age", _backlog_age, unit="s", warning=300.0, critical=900.0,
        text="a message has waited for {value}",
        remedy="Check that workers run, and what handlers wait for; add workers, or raise "
        "OFFHOOK_CONCURRENCY if they wait for other services.",
    ),
    Rule(
        "answer-errors", _refusing, unit="%", warning=0.05, critical=0.25,
        text="{value} of webhooks are answered 503 or 500",
        remedy="The log has the errors (X-Offhook-Error). Twilio retries only with the connection "
        "overrides that offhook connect sets.",
    ),
    Rule(
        "handler-errors", _failing, unit="%", warning=0.05, critical=0.5,
        text="{value} of handler runs fail",
        remedy="Run offhook messages list --state waiting, and messages show for the traceback.",
    ),
    Rule(
        "store-unavailable", _store_away, critical=0.0,
        text="the store cannot be read",
        remedy="Restore it. Until it is available, webhooks are kept in the arrivals logs of a "
        "SQLite store or in the spool, and answered 503 if there is neither.",
    ),
    Rule(
        "store-broken", _troubled(Topic.STORE_BROKEN), critical=0.0,
        text="the store's file is missing, replaced or damaged, according to {value} processes",
        remedy="Stop offhook, repair the store, and start it: docs/explanation/guarantees.md, "
        '"When the store is broken". The log and offhook doctor have the details.',
    ),
    Rule(
        "spool", _spooled, warning=0.0,
        text="webhooks in this machine's spool only: {value}",
        remedy="They are forwarded and handled once the store is available. Do not delete its "
        "files.",
        raise_after=60.0,  # most outages end and are forwarded within a minute
    ),
    Rule(
        "backlog-full", _troubled(Topic.BACKLOG_FULL), critical=0.0,
        text="new messages are refused: OFFHOOK_MAX_BACKLOG is reached",
        remedy="Add workers, or raise it. Meanwhile Twilio retries, or calls the fallback URL.",
    ),
    Rule(
        "cache-unavailable", _troubled(Topic.CACHE_UNAVAILABLE), warning=0.0,
        text="{value} processes cannot reach Redis",
        remedy="Check Redis. Without it answers are correct, but repeats cost more.",
    ),
    Rule(
        "credentials-unavailable", _troubled(Topic.CREDENTIALS_UNAVAILABLE), warning=0.0,
        text="@app.credentials fails in {value} processes",
        remedy="See the log. Webhooks are deferred, or answered 503, until it works.",
    ),
    Rule(
        "dead-letters", _dead, warning=0.0,
        text="dead messages: {value}",
        remedy="Run offhook messages list --state dead; fix the cause, then replay or discard.",
    ),
    Rule(
        "loop-suspected", _suspecting, warning=0.0,
        text="messages parked because two bots may be talking to each other: {value}",
        remedy="Run offhook messages list --state parked; stop the other bot, then replay or "
        "discard them. Messages at a person's pace are handled meanwhile.",
        raise_after=0.0,  # a loop may park a few messages and end
    ),
    Rule(
        "replies-pending", _oldest_send, unit="s", warning=300.0, critical=900.0,
        text="a reply has waited to be sent for {value}",
        remedy="Run offhook sends list --state pending: each has its error. Check that workers run."
        " Once the cause is fixed, run offhook sends retry --all --state pending.",
    ),
    Rule(
        "replies-refused", _sends_in(SendState.FAILED), warning=0.0,
        text="replies that Twilio refused: {value}",
        remedy="Run offhook sends list --state failed: each error says what to do. Then run "
        "offhook sends retry, or offhook sends cancel for what is not to be sent.",
    ),
    Rule(
        "replies-undelivered", _sends_in(SendState.UNDELIVERED), warning=0.0,
        text="replies that were accepted and not delivered: {value}",
        remedy="Run offhook sends list --state undelivered: each code says what to do. Then run "
        "offhook sends retry, or offhook sends cancel for what is not to be sent again.",
    ),
    Rule(
        "people-unanswered", _unanswered, warning=0.0,
        text="people whose message was handled, and whom no reply has reached: {value}",
        remedy="Run offhook sends list with --state pending, failed and undelivered for the causes;"
        " once they are fixed, offhook sends retry.",
        raise_after=60.0,  # a single 429 of Twilio's is over by then
    ),
    Rule(
        "unknown-sends", _unresolved, warning=0.0,
        text="replies that may or may not have been sent: {value}, for ten minutes or longer",
        remedy="No status callback arrived, and Twilio's message list has not told either. Check "
        "that Twilio reaches OFFHOOK_PUBLIC_URL, and look the replies up in Twilio's log: the "
        "list may have a message that could be one of them.",
    ),
    Rule(
        "disk", _disk, unit="%", warning=0.8, critical=0.95,
        text="a disk with the store or the spool is {value} full",
        remedy="Free some space, or lower OFFHOOK_RETENTION: a full disk stores no webhooks.",
        ease=0.98,
    ),
    Rule(
        "cpu", _cpu, unit="%", warning=0.8,
        text="{value} of this machine's CPU is used",
        remedy="Find the process that uses it (offhook_process_cpu_seconds_total); add a machine, "
        "or move workers to another.",
        ease=0.9,
        raise_after=60.0,  # a start or a deploy uses all of it for a while
    ),
    Rule(
        "memory", _memory, unit="%", warning=0.8, critical=0.95,
        text="{value} of this machine's memory is used",
        remedy="Find the process that uses it (offhook_process_resident_memory_bytes); lower "
        "OFFHOOK_CONCURRENCY, or add memory.",
        ease=0.95,
    ),
)  # fmt: skip
