"""Each rule, from what happens on a machine to what an operator is told."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from offhook.alerts import RULES, Level, Rule
from offhook.alerts.window import Window
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, State, Trigger
from offhook.events import Handled, Problem, Topic
from offhook.observe.metrics import PHASES
from offhook.observe.system import Host
from tests.alerts.support import ANSWERED, COUNTS, Machine

BY_NAME = {rule.name: rule for rule in RULES}
HANDLED = Handled(1, Kind.MESSAGE, "SM1", 1, Trigger.COMPLETE, 0.25, 2.5)
FAILED = replace(HANDLED, trigger=Trigger.RETRY, error="ValueError")
REFUSED = ANSWERED._replace(status=503, error="store-timeout")
REPORTED = ANSWERED._replace(kind=Kind.STATUS, status=204)
FORGED = ANSWERED._replace(status=403, error="signature-mismatch")
HALF_SENT = ANSWERED._replace(status=408, error="body-timeout", enqueue=5.0)

Work = Callable[[Machine], None]


def answers(seconds: float, times: int = 100) -> Work:
    return lambda machine: machine.tell(ANSWERED._replace(enqueue=seconds), times=times)


def mixed(*parts: tuple[object, int]) -> Work:
    def work(machine: Machine) -> None:
        for event, times in parts:
            machine.tell(event, times=times)  # type: ignore[arg-type]

    return work


def holds(**changes: object) -> Work:
    def work(machine: Machine) -> None:
        machine.counts = replace(COUNTS, **changes)  # type: ignore[arg-type]

    return work


def uses(**changes: object) -> Work:
    def work(machine: Machine) -> None:
        machine.host = Host(**changes)  # type: ignore[arg-type]

    return work


def away(machine: Machine) -> None:
    machine.counts = None


def spools(machine: Machine) -> None:
    machine.spooled = 3


def told(topic: Topic) -> Work:
    return lambda machine: machine.tell(Problem(topic, "it is away"))


W, C = Level.WARNING, Level.CRITICAL
CASES: list[tuple[str, Work, Level | None]] = [
    ("acknowledge-time", answers(0.4), None),
    ("acknowledge-time", answers(1.5), W),
    ("acknowledge-time", answers(4.0), C),
    ("acknowledge-time", answers(4.0, times=0), None),
    ("acknowledge-time", answers(4.0, times=19), None),
    ("acknowledge-time", mixed((ANSWERED, 30), (HALF_SENT, 30)), None),
    ("backlog-age", holds(oldest=299.0), None),
    ("backlog-age", holds(oldest=301.0), W),
    ("backlog-age", holds(oldest=901.0), C),
    ("answer-errors", mixed((ANSWERED, 95), (REFUSED, 5)), None),
    ("answer-errors", mixed((ANSWERED, 94), (REFUSED, 6)), W),
    ("answer-errors", mixed((ANSWERED, 70), (REFUSED, 30)), C),
    ("answer-errors", mixed((REPORTED, 80), (ANSWERED, 10), (REFUSED, 10)), W),
    ("answer-errors", mixed((REPORTED, 95), (REFUSED, 5)), None),
    ("answer-errors", mixed((FORGED, 100)), None),
    ("answer-errors", mixed((REFUSED, 3)), None),
    ("answer-errors", mixed((FORGED, 10_000), (ANSWERED, 70), (REFUSED, 30)), C),
    ("handler-errors", mixed((HANDLED, 95), (FAILED, 5)), None),
    ("handler-errors", mixed((HANDLED, 94), (FAILED, 6)), W),
    ("handler-errors", mixed((FAILED, 60)), C),
    ("store-unavailable", away, C),
    ("store-broken", told(Topic.STORE_BROKEN), C),
    ("spool", spools, W),
    ("backlog-full", told(Topic.BACKLOG_FULL), C),
    ("cache-unavailable", told(Topic.CACHE_UNAVAILABLE), W),
    ("credentials-unavailable", told(Topic.CREDENTIALS_UNAVAILABLE), W),
    ("dead-letters", holds(messages={**COUNTS.messages, State.DEAD: 1}), W),
    ("loop-suspected", told(Topic.LOOP_SUSPECTED), W),
    ("loop-suspected", told(Topic.SENDER_LIMIT), None),
    ("replies-pending", holds(oldest_send=299.0), None),
    ("replies-pending", holds(oldest_send=301.0), W),
    ("replies-pending", holds(oldest_send=901.0), C),
    ("replies-refused", holds(sends={**COUNTS.sends, SendState.FAILED: 1}), W),
    ("replies-refused", holds(sends={**COUNTS.sends, SendState.REPLACED: 9}), None),
    ("replies-undelivered", holds(sends={**COUNTS.sends, SendState.UNDELIVERED: 1}), W),
    ("people-unanswered", holds(unanswered=1), W),
    ("unknown-sends", holds(unresolved=2), W),
    ("disk", uses(disks={"store": 0.5, "spool": 0.81}), W),
    ("disk", uses(disks={"store": 0.96}), C),
    ("cpu", uses(cpu_busy=70.0, cpu_all=100.0), None),
    ("cpu", uses(cpu_busy=90.0, cpu_all=100.0), W),
    ("memory", uses(memory=0.79), None),
    ("memory", uses(memory=0.81), W),
    ("memory", uses(memory=0.96), C),
]


@pytest.mark.parametrize(("name", "work", "level"), CASES)
def test_a_rule_tells_by_what_has_happened(name: str, work: Work, level: Level | None) -> None:
    machine = Machine()
    before = machine.look()
    work(machine)
    window = Window(before, machine.look(after=5.0))
    assert BY_NAME[name].level(BY_NAME[name].read(window)) is level
    others = {rule.name for rule in RULES if rule.level(rule.read(window))} - {name}
    assert not others, "one problem, one alert"


def test_each_rule_is_tried() -> None:
    assert {name for name, _, level in CASES if level} == BY_NAME.keys()


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_each_says_what_is_the_matter_and_what_to_do(rule: Rule) -> None:
    assert rule.remedy.endswith(".")
    assert "{" not in rule.sentence(1.5)
    assert rule.warning is not None or rule.critical is not None


def test_only_what_has_happened_within_the_window_counts() -> None:
    machine = Machine()
    answers(4.0)(machine)
    before = machine.look()
    answers(0.001)(machine)
    window = Window(before, machine.look(after=5.0))
    value = window.quantile(0.99, PHASES, phase="total")
    assert value is not None
    assert value < 0.01


def test_a_quantile_lies_within_its_bucket() -> None:
    machine = Machine()
    before = machine.look()
    machine.tell(ANSWERED, times=99)  # 6 ms in all: between 5 and 10
    machine.tell(ANSWERED._replace(enqueue=100.0))
    window = Window(before, machine.look())
    half = window.quantile(0.5, PHASES, phase="total")
    assert half is not None
    assert 0.005 < half < 0.01
    assert window.quantile(1.0, PHASES, phase="total") == PHASES.buckets[-1], "that, or later"


def test_numbers_are_shown_as_people_read_them() -> None:
    assert BY_NAME["disk"].sentence(0.834) == "a disk with the store or the spool is 83% full"
    assert "take 1.23 s" in BY_NAME["acknowledge-time"].sentence(1.234)
    assert "dead messages: 3" in BY_NAME["dead-letters"].sentence(3.0)
