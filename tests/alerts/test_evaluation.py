"""Alerts are raised, changed and over, and do not flap."""

from collections.abc import Sequence
from dataclasses import replace

from hypothesis import given
from hypothesis import strategies as st

from offhook.alerts import AlertChange, Level, Rule, RuleState, Transition, advance
from offhook.alerts.evaluation import CLEAR_AFTER
from offhook.alerts.rules import RAISE_AFTER, UNKNOWN, Reading

RULE = Rule("load", lambda _: None, "it is {value}", "Do less.", warning=10.0, critical=100.0)
STEP = 5.0


def follow(values: Sequence[Reading], rule: Rule = RULE) -> list[tuple[float, AlertChange]]:
    """Return what is told, and when, of readings that come every five seconds."""
    state, told = RuleState(), []
    for number, value in enumerate(values):
        state, change = advance(rule, state, value, number * STEP)
        if change is not None:
            told.append((number * STEP, change))
    return told


def stages(values: Sequence[Reading]) -> list[tuple[float, Transition, Level]]:
    return [(at, change.stage, change.alert.level) for at, change in follow(values)]


def test_it_is_raised_when_it_lasts_and_over_when_that_lasts() -> None:
    bad, well = [11.0] * 20, [1.0] * 20
    assert stages([1.0, *bad, *well]) == [
        (5.0 + RAISE_AFTER, Transition.RAISED, Level.WARNING),
        (105.0 + CLEAR_AFTER, Transition.CLEARED, Level.WARNING),
    ]


def test_some_rules_are_more_patient() -> None:
    told = follow([11.0] * 20, replace(RULE, raise_after=60.0))
    assert [at for at, _ in told] == [60.0]


def test_a_moment_is_not_told() -> None:
    assert stages([1.0, 11.0, 1.0] * 20) == []


def test_what_stays_near_its_bound_stays_raised() -> None:
    assert [stage for _, stage, _ in stages([11.0] * 5 + [9.0] * 40)] == [Transition.RAISED]
    assert [stage for _, stage, _ in stages([11.0] * 5 + [9.0, 11.0] * 40)] == [Transition.RAISED]


def test_a_moment_s_ease_does_not_end_it() -> None:
    assert [stage for _, stage, _ in stages([11.0] * 5 + [1.0] * 10 + [11.0] * 5)] == [
        Transition.RAISED
    ]


def test_it_gets_worse_at_once_and_better_slowly() -> None:
    told = stages([11.0] * 3 + [101.0] * 4 + [11.0] * 20 + [1.0] * 20)
    assert [(stage, level) for _, stage, level in told] == [
        (Transition.RAISED, Level.WARNING),
        (Transition.CHANGED, Level.CRITICAL),
        (Transition.CHANGED, Level.WARNING),
        (Transition.CLEARED, Level.WARNING),
    ]
    assert told[1][0] == 15.0 + RAISE_AFTER
    assert told[2][0] == 35.0 + CLEAR_AFTER


def test_what_is_critical_at_first_is_raised_so() -> None:
    assert stages([101.0] * 5) == [(RAISE_AFTER, Transition.RAISED, Level.CRITICAL)]


def test_what_alternates_between_two_levels_is_raised_at_the_milder() -> None:
    assert stages([99.0, 101.0] * 10) == [(RAISE_AFTER, Transition.RAISED, Level.WARNING)]
    assert stages([101.0, 99.0] * 10) == [(RAISE_AFTER, Transition.RAISED, Level.WARNING)]


def test_what_is_unknown_changes_nothing() -> None:
    told = stages([11.0] * 3 + [UNKNOWN] * 40 + [1.0] * 20)
    assert told == [
        (RAISE_AFTER, Transition.RAISED, Level.WARNING),
        (43 * STEP + CLEAR_AFTER, Transition.CLEARED, Level.WARNING),
    ]
    assert stages([UNKNOWN] * 40) == []


def test_nothing_to_be_said_is_well() -> None:
    told = stages([11.0] * 3 + [None] * 20)
    assert [stage for _, stage, _ in told] == [Transition.RAISED, Transition.CLEARED]


def test_since_is_when_it_was_raised_and_the_value_is_the_last() -> None:
    (raised, changed) = (change.alert for _, change in follow([11.0] * 3 + [101.0] * 4))
    assert raised.since == changed.since == RAISE_AFTER
    assert (raised.value, changed.value) == (11.0, 101.0)
    assert (changed.text, changed.remedy) == ("it is 101", "Do less.")


readings = st.lists(st.one_of(st.none(), st.just(UNKNOWN), st.floats(0, 200)), max_size=120)


@given(readings)
def test_what_is_told_is_always_a_life(values: list[Reading]) -> None:
    """Raised first, then changes, then over; never twice the same; never two within ten seconds."""
    level: Level | None = None
    last = -RAISE_AFTER
    for at, change in follow(values):
        assert (change.stage is Transition.RAISED) == (level is None)
        assert at - last >= RAISE_AFTER
        if change.stage is Transition.CLEARED:
            level = None
        else:
            assert change.alert.level is not level
            level = change.alert.level
        last = at
