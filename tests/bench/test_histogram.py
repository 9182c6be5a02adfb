"""Percentiles are right to one percent, however many there are."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.bench.results import Histogram

seconds = st.floats(min_value=0, max_value=3600, allow_nan=False)


def of(*values: float) -> Histogram:
    histogram = Histogram()
    for value in values:
        histogram.record(value)
    return histogram


@given(st.lists(seconds, min_size=1), st.sampled_from([0.0, 50.0, 90.0, 99.0, 99.9, 100.0]))
def test_a_percentile_is_that_of_the_sorted_values(values: list[float], percent: float) -> None:
    exact = sorted(values)[max(1, -int(-len(values) * percent // 100)) - 1]
    found = of(*values).percentile(percent)
    assert exact - 1e-9 <= found <= exact * (1 + 1 / 128) + 1e-6


@given(st.lists(seconds), st.lists(seconds))
def test_what_is_added_was_counted_together(some: list[float], others: list[float]) -> None:
    added = of(*some)
    added.add(of(*others))
    together = of(*some, *others)
    assert list(added.cumulated()) == list(together.cumulated())
    assert (added.count, added.maximum) == (together.count, together.maximum)


def test_shares_below_a_duration_are_counted() -> None:
    histogram = of(0.001, 0.002, 0.004, 1.0)
    assert [histogram.at_most(bound) for bound in (0.0005, 0.003, 0.005, 2)] == [0, 2, 3, 4]


def test_nothing_counted_is_no_error() -> None:
    assert Histogram().percentile(99) == 0.0


def test_a_clock_that_went_backwards_counts_as_nothing() -> None:
    assert of(-0.5).percentile(100) == pytest.approx(0.0)
