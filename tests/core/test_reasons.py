"""Invariant: a stored explanation comes back as it was, and no foreign words become one."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.core.reasons import Cause, Explanation, read, stored

VALUES = ("2", "5")

FORMER = [
    ("the answer to its claim was lost: no handler has run", Cause.CLAIM_LOST()),
    ("discarded by its handler", Cause.DISCARDED()),
    ("loop-suspected: 20 sends of late", Cause.SENT_OFTEN(20)),
    ("no handler for whatsapp", Cause.NO_HANDLER("whatsapp")),
    ("no handler for STOP", Cause.NO_HANDLER("STOP")),
    ("not Twilio's: signature-mismatch", Cause.NOT_TWILIOS("signature-mismatch")),
    ("by an operator", Cause.OPERATOR()),
    ("its worker died while it was being sent", Cause.SEND_LOST()),
    ("sender-limit: more than 20 messages in 60 s", Cause.SENDER_LIMIT(20, 60.0)),
    ("timed out after 30 s", Cause.TIMED_OUT(30.0)),
    ("timed out after 1e+09 s", Cause.TIMED_OUT(1e9)),
    ("its worker died while it was running, for the 2. time", Cause.WORKER_DIED(2, 5)),
    ("the worker was stopped", Cause.WORKER_STOPPED()),
]


def explained(cause: Cause) -> Explanation:
    return cause(*VALUES[: cause.sentence.count("{}")])


@pytest.mark.parametrize("cause", Cause)
def test_what_is_stored_comes_back(cause: Cause) -> None:
    explanation = explained(cause)
    assert read(stored(explanation)) == explanation
    assert "{" not in str(explanation)
    assert stored(explanation).isascii()
    assert not set(stored(explanation)) & set("'\\%\n")  # as PostgreSQL's functions spell it


def test_a_number_is_shown_whole_and_a_duration_without_zeros() -> None:
    assert str(Cause.SENDER_LIMIT(1_234_567, 60.0)).endswith("1234567 messages in 60 s")


@pytest.mark.parametrize(("sentence", "meant"), FORMER, ids=[one for one, _ in FORMER])
def test_what_earlier_versions_wrote_is_understood(sentence: str, meant: Explanation) -> None:
    assert read(sentence) == meant


LIKE_OURS = [*(stored(explained(cause)) for cause in Cause), *(one for one, _ in FORMER)]


@given(st.text() | st.sampled_from(LIKE_OURS))
def test_foreign_words_are_no_explanation(words: str) -> None:
    found = read(stored(words))
    assert isinstance(found, str)
    assert found.strip() == words.strip()


@pytest.mark.parametrize(
    "column", ["cause:of-a-later-version 3", "cause:timed-out", "cause:operator Ann", "cause:"]
)
def test_what_is_not_understood_is_no_explanation(column: str) -> None:
    assert read(column) == column
