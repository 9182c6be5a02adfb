"""The rules: from a window to a number, and from which number on somebody must be told.

`deploy/prometheus/` has the same rules for a Prometheus; a test holds the two together.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import Enum, StrEnum
from typing import Final, Literal

from offhook.alerts.window import Window
from offhook.core.lifecycle import State, Trigger
from offhook.core.responses import STORED
from offhook.events import Topic
from offhook.observe.metrics import ACTIVE_PROBLEMS, PHASES, PROBLEMS, RUNS, WEBHOOKS

MIN_EVENTS: Final = 20
"""As many answers or runs there must be in a window: one that failed of three is no rate."""

STORED_CODES: Final = tuple(str(int(answer.status)) for answer in STORED.values())
"""The codes of webhooks that were stored: messages', and status callbacks'."""

FAILURE_CODES: Final = ("500", "503")
"""The codes of webhooks that were refused because of us."""


class Unknown(Enum):
    """The type of `UNKNOWN`."""

    UNKNOWN = "unknown"


UNKNOWN: Final = Unknown.UNKNOWN
"""What is read when it could not be looked: neither well nor not."""

RAISE_AFTER: Final = 10.0
"""Seconds that most must have been that bad: two looks."""


class Level(StrEnum):
    """How bad it is."""

    WARNING = "warning"
    CRITICAL = "critical"


Reading = float | Literal[Unknown.UNKNOWN] | None
"""A number; None when there is nothing to be said, as without traffic, which is well."""

Read = Callable[[Window], Reading]
"""From a window to a reading."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What is looked at, and when it is too much.

    Attributes:
        name: kebab-case.
        read: what is looked at.
        text: what is the matter; `{value}` stands for the number as `unit` has it.
        remedy: what to do about it.
        warning, critical: numbers beyond which it is that bad; None for never.
        unit: `s`, `%` or nothing.
        ease: it is over below this share of what it was raised at, so that it does not flap.
        patience: seconds that it must have been that bad.
    """

    name: str
    read: Read
    text: str
    remedy: str
    warning: float | None = None
    critical: float | None = None
    unit: str = ""
    ease: float = 0.8
    patience: float = RAISE_AFTER

    def level(self, value: Reading, *, share: float = 1.0) -> Level | None:
        """Return how bad a number is; None for not at all.

        Args:
            value: what was read.
            share: of the bounds that count.
        """
        if value is None or value is UNKNOWN:
            return None
        if self.critical is not None and value > self.critical * share:
            return Level.CRITICAL
        if self.warning is not None and value > self.warning * share:
            return Level.WARNING
        return None

    def sentence(self, value: float) -> str:
        """Return what is the matter."""
        match self.unit:
            case "%":
                shown = f"{value:.0%}"
            case "s":
                shown = f"{value:.3g} s"
            case _:
                shown = f"{value:g}"
        return self.text.format(value=shown)


def _acknowledging(window: Window) -> float | None:
    # Of those that were accepted: what was refused may have been sent slowly on purpose.
    accepted = {"phase": "total", "outcome": "accepted"}
    *counts, _ = window.increase(PHASES, **accepted)
    return window.quantile(0.99, PHASES, **accepted) if sum(counts) >= MIN_EVENTS else None


def _refusing(window: Window) -> float | None:
    """Return the share of webhooks that were refused because of us, of those we could answer.

    What was refused because of the caller says nothing of us, and anybody can send it.
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
        text="1 % of webhooks are answered after {value} or later",
        remedy="See which phase takes the time (offhook_webhook_phase_seconds): validate is CPU or "
        "@app.credentials, enqueue is the store's disk. Add ingresses or a faster disk.",
    ),
    Rule(
        "backlog-age", _backlog_age, unit="s", warning=300.0, critical=900.0,
        text="a message has waited for {value}",
        remedy="Look whether workers run and what handlers wait for; add workers, or raise "
        "OFFHOOK_CONCURRENCY if they wait for others.",
    ),
    Rule(
        "answer-errors", _refusing, unit="%", warning=0.05, critical=0.25,
        text="{value} of webhooks are answered 503 or 500",
        remedy="The log names the errors (X-Offhook-Error). Twilio repeats them only with the "
        "overrides that offhook connect sets.",
    ),
    Rule(
        "handler-errors", _failing, unit="%", warning=0.05, critical=0.5,
        text="{value} of handler runs fail",
        remedy="offhook messages list --state waiting, and messages show, which has the traceback.",
    ),
    Rule(
        "store-unavailable", _store_away, critical=0.0,
        text="the store can't be read",
        remedy="Look after it: until it is back, webhooks are kept in the spool if there is one, "
        "and answered 503 if not.",
    ),
    Rule(
        "store-broken", _troubled(Topic.STORE_BROKEN), critical=0.0,
        text="the store's file is gone, replaced or damaged, according to {value} processes",
        remedy="Stop offhook, put the store right, and start it: docs/explanation/guarantees.md, "
        '"When the store is broken". The log and offhook doctor say what is wrong.',
    ),
    Rule(
        "spool", _spooled, warning=0.0,
        text="webhooks that are on this machine's disk alone: {value}",
        remedy="They are forwarded when the store is back; until then nobody handles them. Keep "
        "the disk.",
        patience=60.0,  # what is forwarded within a minute needs nobody
    ),
    Rule(
        "backlog-full", _troubled(Topic.BACKLOG_FULL), critical=0.0,
        text="new messages are refused: OFFHOOK_MAX_BACKLOG is reached",
        remedy="Add workers, or raise it; until then Twilio repeats, or goes to the fallback URL.",
    ),
    Rule(
        "cache-unavailable", _troubled(Topic.CACHE_UNAVAILABLE), warning=0.0,
        text="{value} processes can't reach Redis",
        remedy="Look after it. Answers are right without it, and repeats cost more.",
    ),
    Rule(
        "credentials-unavailable", _troubled(Topic.CREDENTIALS_UNAVAILABLE), warning=0.0,
        text="@app.credentials fails in {value} processes",
        remedy="The log says how. Webhooks are deferred, or answered 503, until it works.",
    ),
    Rule(
        "dead-letters", _dead, warning=0.0,
        text="messages that were given up: {value}",
        remedy="offhook messages list --state dead; mend what fails, then replay or discard them.",
    ),
    Rule(
        "loop-suspected", _suspecting, warning=0.0,
        text="messages parked because two bots seem to be talking with each other: {value}",
        remedy="offhook messages list --state parked; stop the other bot, then replay or discard "
        "them. Messages at a person's pace are handled meanwhile.",
        patience=0.0,  # a few messages, and all is silent
    ),
    Rule(
        "unknown-sends", _unresolved, warning=0.0,
        text="replies that may or may not have been sent: {value}, for ten minutes or longer",
        remedy="No status came. Check that Twilio reaches OFFHOOK_PUBLIC_URL, and look the replies "
        "up in Twilio's log; they are never sent again by themselves.",
    ),
    Rule(
        "disk", _disk, unit="%", warning=0.8, critical=0.95,
        text="a disk with the store or the spool is {value} full",
        remedy="Make room, or lower OFFHOOK_RETENTION: nothing can be stored on a full disk.",
        ease=0.98,
    ),
    Rule(
        "cpu", _cpu, unit="%", warning=0.8,
        text="{value} of this machine's CPU is used",
        remedy="See which process uses it (offhook_process_cpu_seconds_total); add a machine, or "
        "move handlers away.",
        ease=0.9,
        patience=60.0,  # a start, or a deploy, takes all there is for a while
    ),
    Rule(
        "memory", _memory, unit="%", warning=0.8, critical=0.95,
        text="{value} of this machine's memory is used",
        remedy="See which process holds it (offhook_process_resident_memory_bytes); lower "
        "OFFHOOK_CONCURRENCY, or add memory.",
        ease=0.95,
    ),
)  # fmt: skip
