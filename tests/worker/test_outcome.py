import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.core.keys import Kind
from offhook.core.lifecycle import State, Trigger, sources
from offhook.core.reasons import Cause, Error, stored
from offhook.errors import Discard, InvalidReply, RetryLater
from offhook.settings import Settings
from offhook.stores.api import Claim, Draft
from offhook.worker.drafts import ReturnAddress
from offhook.worker.outcome import (
    MAX_ERROR,
    Interrupted,
    LoopSuspected,
    Raised,
    Result,
    Returned,
    SenderLimited,
    TimedOut,
    Unhandled,
    decide,
    describe,
)
from offhook.worker.terms import Notices, Terms

DRAFT = Draft("return:0", "AC1", "+15005550006", "+15551230001", "hello")
SETTINGS = Settings.load(
    env_file=None, failure_notice="sorry", limit_notice="slower", sender_limit=(20, 60.0)
)
NOTICES = Notices(ReturnAddress("AC1", "+15005550006", "+15551230001"), SETTINGS)
TERMS = Terms(timeout=30.0, max_attempts=5, notices=NOTICES)


def claim(attempt: int = 1) -> Claim:
    return Claim(1, 1, Kind.MESSAGE, "lane", "SM1", attempt, 0, 0.0, b"")


def raised(error: BaseException) -> Raised:
    """Return an error as it arrives: with a traceback."""
    try:
        raise error  # noqa: TRY301 - so that it has a traceback
    except BaseException as caught:  # noqa: BLE001 - the subject
        return Raised(caught)


def test_what_was_returned_is_sent_with_the_settling() -> None:
    settlement = decide(Returned((DRAFT,)), claim(), TERMS, 0.0)
    assert (settlement.trigger, settlement.drafts) == (Trigger.COMPLETE, (DRAFT,))


@pytest.mark.parametrize("result", [raised(ValueError("no")), TimedOut(30.0)])
@pytest.mark.parametrize(("attempt", "delay"), [(1, 1.0), (2, 4.0), (4, 64.0)])
def test_a_failure_is_tried_again_later_and_later(
    result: Result, attempt: int, delay: float
) -> None:
    settlement = decide(result, claim(attempt), TERMS, 0.0)
    assert (settlement.trigger, settlement.delay) == (Trigger.RETRY, delay)
    assert settlement.holds_lane
    assert not settlement.drafts


@pytest.mark.parametrize(
    "result", [raised(ValueError("no")), TimedOut(30.0), raised(RetryLater(60))]
)
def test_the_last_failure_makes_it_dead_and_tells_the_person(result: Result) -> None:
    settlement = decide(result, claim(5), TERMS, 0.0)
    assert settlement.trigger is Trigger.GIVE_UP
    assert [draft.body for draft in settlement.drafts] == ["sorry"]
    assert settlement.error


def test_a_notice_that_is_turned_off_is_not_written() -> None:
    assert decide(TimedOut(1.0), claim(), Terms(1.0, max_attempts=1), 0.0).drafts == ()


def test_a_handler_may_choose_the_delay() -> None:
    settlement = decide(raised(RetryLater(42, "the bank sleeps")), claim(), TERMS, 0.9)
    assert (settlement.trigger, settlement.delay) == (Trigger.RETRY, 42.0)
    assert settlement.error == "the bank sleeps"


def test_no_delay_is_too_long_for_a_store() -> None:
    assert math.isfinite(decide(raised(RetryLater(math.inf)), claim(), TERMS, 0.0).delay)


def test_discard_is_not_a_failure() -> None:
    settlement = decide(raised(Discard("spam")), claim(5), TERMS, 0.0)
    assert (settlement.trigger, settlement.error) == (Trigger.DISCARD, "spam")
    assert not settlement.drafts
    assert decide(raised(Discard()), claim(), TERMS, 0.0).error == Cause.DISCARDED()


def test_an_interruption_is_not_a_failure() -> None:
    settlement = decide(Interrupted(1.0), claim(5), TERMS, 0.0)
    assert (settlement.trigger, settlement.delay) == (Trigger.INTERRUPT, 1.0)


def test_without_a_handler_it_is_discarded_and_a_loop_is_parked() -> None:
    assert (
        decide(Unhandled(Cause.NO_HANDLER("sms")), claim(), TERMS, 0.0).trigger is Trigger.DISCARD
    )
    parked = decide(LoopSuspected(20), claim(), TERMS, 0.0)
    assert parked.trigger is Trigger.PARK
    assert parked.error == Cause.LOOP_SUSPECTED(20)


def test_a_sender_with_too_many_is_told_once() -> None:
    first = decide(SenderLimited(20, 60.0, notifies=True), claim(), TERMS, 0.0)
    assert first.trigger is Trigger.PARK
    assert [(draft.body, draft.once_in) for draft in first.drafts] == [("slower", 60.0)]
    assert first.error == Cause.SENDER_LIMIT(20, 60.0)
    more = decide(SenderLimited(20, 60.0, notifies=False), claim(), TERMS, 0.0)
    assert (more.trigger, more.drafts) == (Trigger.PARK, ())


def test_a_traceback_is_kept_but_not_the_variables() -> None:
    def fail(body: str) -> None:
        raise LookupError(len(body))

    written = "etorw nosrep a tahw"[::-1]  # backwards, for a traceback shows lines of source
    try:
        fail(written)
    except LookupError as error:
        settlement = decide(Raised(error), claim(), TERMS, 0.0)
    assert isinstance(settlement.error, str)
    assert "in fail" in settlement.error
    assert "LookupError: 19" in settlement.error
    assert written not in settlement.error


def test_the_end_of_a_long_error_is_kept() -> None:
    settlement = decide(raised(ValueError("x" * 50_000 + "end")), claim(), TERMS, 0.0)
    assert isinstance(settlement.error, str)
    assert len(settlement.error) <= MAX_ERROR
    assert settlement.error.rstrip().endswith("end")


errors = st.one_of(
    st.builds(ValueError, st.text(st.characters())),
    st.builds(Discard, st.text(st.characters())),
    st.builds(RetryLater, st.floats(), st.text(st.characters())),
    st.just(SystemExit(1)),
    st.just(InvalidReply("empty")),
)
results = st.one_of(
    st.builds(Returned),
    st.builds(raised, errors),
    st.builds(TimedOut, st.floats(0.1, 100)),
    st.builds(Interrupted, st.floats(0, 1)),
    st.just(Unhandled(Cause.NO_HANDLER("sms"))),
    st.builds(LoopSuspected, st.integers(20)),
    st.builds(SenderLimited, st.integers(1), st.floats(1, 86_400), notifies=st.booleans()),
)


@given(results, st.integers(1, 2000), st.floats(0, 1, exclude_max=True), st.booleans())
def test_every_result_has_an_end_that_a_store_can_write(
    result: Result, attempt: int, jitter: float, opted_out: bool
) -> None:
    terms = replace(TERMS, cancel_lane=opted_out)
    settlement = decide(result, claim(attempt), terms, jitter)
    assert State.RUNNING in sources(settlement.trigger)
    assert math.isfinite(settlement.delay)
    assert settlement.delay >= 0
    stored(settlement.error).encode()  # raises for what is no text
    assert settlement.cancel_lane is opted_out
    assert (settlement.trigger is Trigger.RETRY) <= (attempt < terms.max_attempts)
    assert isinstance(describe(result), Error)
