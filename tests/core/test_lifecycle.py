"""Invariant: from every live state a message can come to an end, and nothing leaves the table."""

import pytest

from offhook.core import lifecycle
from offhook.core.lifecycle import (
    LIVE,
    SETTLED,
    Delivery,
    SendState,
    SendTrigger,
    State,
    Trigger,
    later_delivery,
    reported_trigger,
)

LOST_AND_AGAIN = (SendState.UNKNOWN, SendState.PENDING)


def reachable(start: str, table: tuple[tuple[str, str, str], ...]) -> set[str]:
    seen = {start}
    while more := {to for of, _, to in table if of in seen} - seen:
        seen |= more
    return seen


def test_every_trigger_and_state_is_in_the_table() -> None:
    assert {trigger for _, trigger, _ in lifecycle.table()} == set(Trigger)
    assert {state for of, _, to in lifecycle.table() for state in (of, to)} == set(State)
    assert {trigger for _, trigger, _ in lifecycle.send_table()} == set(SendTrigger)
    assert {state for of, _, to in lifecycle.send_table() for state in (of, to)} == set(SendState)


@pytest.mark.parametrize("state", State)
def test_every_state_leads_to_an_end(state: State) -> None:
    assert reachable(state, lifecycle.table()) & SETTLED


def test_only_a_replay_leaves_an_end() -> None:
    leaving = {(trigger, to) for of, trigger, to in lifecycle.table() if of in SETTLED - {"dead"}}
    assert leaving == {(Trigger.REPLAY, State.OPEN)}


def test_only_running_messages_are_settled_by_runs() -> None:
    for trigger in (Trigger.COMPLETE, Trigger.RETRY, Trigger.GIVE_UP, Trigger.INTERRUPT):
        assert lifecycle.sources(trigger) == {State.RUNNING}


def test_what_has_left_is_never_sent_again() -> None:
    assert SendState.PENDING not in reachable(SendState.SENT, lifecycle.send_table())
    again = {trigger for of, trigger, to in lifecycle.send_table() if (of, to) == LOST_AND_AGAIN}
    assert again == {SendTrigger.REPEAT}, "which follows from Twilio's message list"
    assert lifecycle.send_sources(SendTrigger.CLAIM) == {SendState.PENDING}


@pytest.mark.parametrize("state", SendState)
def test_every_send_leads_to_an_end(state: SendState) -> None:
    ends = {SendState.SENT, SendState.REPLACED, SendState.CANCELED}
    assert reachable(state, lifecycle.send_table()) & ends


def test_parked_messages_have_no_place_in_a_lane() -> None:
    assert State.PARKED not in LIVE | SETTLED
    assert LIVE | SETTLED | {State.PARKED} == set(State)


@pytest.mark.parametrize(
    ("crashes", "trigger"),
    [(1, Trigger.RESCUE), (2, Trigger.RESCUE), (4, Trigger.RESCUE), (5, Trigger.BURY)],
)
def test_the_fifth_crash_buries(crashes: int, trigger: Trigger) -> None:
    assert lifecycle.after_crash(crashes) is trigger


@pytest.mark.parametrize(
    ("known", "reported", "kept"),
    [
        (None, Delivery("sent"), Delivery("sent")),
        (Delivery("sent"), Delivery("delivered"), Delivery("delivered")),
        (Delivery("delivered"), Delivery("sent"), Delivery("delivered")),
        (Delivery("delivered"), Delivery("read"), Delivery("read")),
        (Delivery("read"), Delivery("delivered"), Delivery("read")),
        (Delivery("sent"), Delivery("undelivered", "30003"), Delivery("undelivered", "30003")),
        (Delivery("failed", "30003"), Delivery("sent"), Delivery("failed", "30003")),
        (Delivery("failed", "30003"), Delivery("failed"), Delivery("failed", "30003")),
        (Delivery("failed"), Delivery("failed", "30003"), Delivery("failed", "30003")),
        (Delivery("sent"), Delivery("a-new-status"), Delivery("sent")),
    ],
)
def test_a_delivery_never_moves_backwards(
    known: Delivery | None, reported: Delivery, kept: Delivery
) -> None:
    assert later_delivery(known, reported) == kept


@pytest.mark.parametrize(
    ("status", "trigger"),
    [
        ("queued", SendTrigger.CONFIRM),
        ("delivered", SendTrigger.CONFIRM),
        ("canceled", SendTrigger.CONFIRM),
        ("undelivered", SendTrigger.MISS),
        ("failed", SendTrigger.MISS),
    ],
)
def test_a_status_tells_what_became_of_a_send(status: str, trigger: SendTrigger) -> None:
    assert reported_trigger(Delivery(status)) is trigger
