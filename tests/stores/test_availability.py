"""What is told of a store that is away, and when it is over."""

from offhook.errors import StoreBroken, StoreUnavailable
from offhook.events import Event, Problem, Topic
from offhook.stores.availability import StoreWatch

AWAY, BROKEN = StoreUnavailable("it does not answer"), StoreBroken("its file is gone")


def test_a_store_that_was_away_and_then_broken_is_back_from_both() -> None:
    """Each topic has a gauge of its own, which would stay up for ever."""
    told: list[Event] = []
    watch = StoreWatch(told.append, "messages are not claimed")
    for error in (AWAY, AWAY, BROKEN, BROKEN, AWAY):
        watch.away(error)
    assert told == [
        Problem(Topic.STORE_UNAVAILABLE, "messages are not claimed: it does not answer"),
        Problem(Topic.STORE_BROKEN, "messages are not claimed: its file is gone"),
    ]
    told.clear()
    watch.back()
    watch.back()
    assert told == [
        Problem(Topic.STORE_BROKEN, "the store is back", resolved=True),
        Problem(Topic.STORE_UNAVAILABLE, "the store is back", resolved=True),
    ]


def test_a_store_that_is_back_is_told_of_anew_when_it_breaks_again() -> None:
    told: list[Event] = []
    watch = StoreWatch(told.append, "messages are not claimed")
    for _ in range(2):
        watch.away(BROKEN)
        watch.back()
    assert len(told) == 4
