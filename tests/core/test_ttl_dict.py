"""A bounded mapping: never more than it was made for, never longer than it was told."""

from hypothesis import given
from hypothesis import strategies as st

from offhook.core.ttl_dict import TtlDict

TTL = 10.0


def test_a_value_is_there_until_its_time_is_over() -> None:
    kept: TtlDict[str, int] = TtlDict(entries=10, size=10)
    kept.put("a", 1, expires=5.0, now=0.0)
    assert kept.get("a", 4.9) == 1
    assert kept.get("a", 5.0) is None


def test_what_was_put_first_leaves_first() -> None:
    kept: TtlDict[int, int] = TtlDict(entries=3, size=100)
    for n in range(5):
        kept.put(n, n, expires=TTL, now=0.0)
    assert [kept.get(n, 0.0) for n in range(5)] == [None, None, 2, 3, 4]


def test_a_value_too_large_for_all_is_not_kept_and_pushes_nothing_out() -> None:
    kept: TtlDict[str, int] = TtlDict(entries=10, size=10)
    kept.put("a", 1, expires=TTL, now=0.0, size=5)
    kept.put("b", 2, expires=TTL, now=0.0, size=11)
    assert (kept.get("a", 0.0), kept.get("b", 0.0)) == (1, None)


def test_the_dead_do_not_gather() -> None:
    kept: TtlDict[int, int] = TtlDict(entries=1_000, size=1_000)
    for n in range(100):
        kept.put(n, n, expires=1.0, now=0.0)
    for n in range(100, 160):
        kept.put(n, n, expires=100.0, now=2.0)
    assert len(kept) == 60


steps = st.lists(st.tuples(st.integers(0, 9), st.integers(1, 6), st.floats(0.0, 3.0)), max_size=60)


@given(steps)
def test_it_is_a_part_of_what_was_put_and_within_its_bounds(
    given_steps: list[tuple[int, int, float]],
) -> None:
    kept: TtlDict[int, int] = TtlDict(entries=5, size=12)
    model: dict[int, tuple[int, float]] = {}
    now = 0.0
    for number, (key, size, passed) in enumerate(given_steps):
        now += passed
        kept.put(key, number, expires=now + TTL, now=now, size=size)
        model[key] = (number, now + TTL)
        assert len(kept) <= 5
        assert 0 <= kept.size <= 12
        assert kept.get(key, now) == number  # the newest is never the one to go
        for known, (value, expires) in model.items():
            assert kept.get(known, now) in ({value, None} if expires > now else {None})
