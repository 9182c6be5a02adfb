import pytest

from offhook.core.backoff import CAP, delay


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 1), (2, 4), (3, 16), (4, 64), (5, 256)])
def test_it_grows_by_four(attempt: int, seconds: float) -> None:
    assert delay(attempt, 0.0) == seconds


@pytest.mark.parametrize("attempt", [6, 100, 10**6])
def test_it_ends_at_five_minutes(attempt: int) -> None:
    assert delay(attempt, 0.0) == CAP


def test_jitter_takes_off_up_to_half() -> None:
    assert delay(2, 0.5) == 3.0
    assert 2.0 < delay(2, 0.999) < 2.01


def test_an_attempt_below_one_is_the_first() -> None:
    assert delay(0, 0.0) == delay(1, 0.0)
