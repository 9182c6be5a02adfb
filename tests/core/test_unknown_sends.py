"""Invariant: nothing that Twilio has is sent again, whatever else is in its list.

The properties make up what Twilio was sent, what it made of that, and what else it has sent.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from offhook.core.unknown_sends import (
    FIRST_LOOK,
    SECOND_LOOK,
    SLACK,
    Finding,
    Listed,
    Unknown,
    Verdict,
    look_up,
    plain,
    recipients_of,
)

ANN, OURS, OTHER = "+15551230001", "+15005550006", "+15005550007"
SERVICE, ANOTHER = "MG" + "0" * 32, "MG" + "1" * 32
PICTURE = "https://a/1"

SEND = Unknown(1, 1, "reply:0", OURS, ANN, "hello", (), template=False, written=200, lost=190)
MESSAGE = Listed("SM1", ANN, OURS, "", "hello", 0, 195)


def finding(
    send: Unknown = SEND, *listed: Listed, known: Sequence[str] = (), witnesses: Sequence[str] = ()
) -> Finding:
    (verdict,) = look_up([send], listed, known=known, witnesses=witnesses)
    return verdict.finding


def test_a_message_with_its_text_is_a_sends() -> None:
    (verdict,) = look_up([SEND], [MESSAGE], known=(), witnesses=())
    assert verdict == Verdict(SEND, Finding.FOUND, MESSAGE)


@pytest.mark.parametrize(
    ("missing", "again", "found"),
    [
        (None, SECOND_LOOK, Finding.MISSING),
        (SECOND_LOOK - 50, 50, Finding.MISSING),
        (SECOND_LOOK, 0, Finding.REPEAT),
    ],
)
def test_two_lists_two_minutes_apart_have_to_lack_it(
    missing: float | None, again: float, found: Finding
) -> None:
    send = replace(SEND, missing=missing)
    assert look_up([send], [], known=(), witnesses=()) == (Verdict(send, found, again=again),)


def test_one_that_is_not_due_yet_counts_and_is_not_judged() -> None:
    young = replace(SEND, id=2, written=20, lost=20)
    old = replace(SEND, missing=SECOND_LOOK)
    _, verdict = look_up([old, young], [], known=(), witnesses=())
    assert verdict == Verdict(young, Finding.UNCERTAIN, again=FIRST_LOOK - 20)
    assert finding(young, replace(MESSAGE, age=19)) is Finding.FOUND


@pytest.mark.parametrize(
    "changed",
    [
        replace(MESSAGE, body=" hello \n"),
        replace(MESSAGE, body="Sent from your Twilio trial account - hello"),
        replace(MESSAGE, age=200 + SLACK),
        replace(MESSAGE, age=190 - SLACK),
        replace(MESSAGE, service=SERVICE),
        replace(MESSAGE, to="", status="failed"),
    ],
)
def test_it_is_found_although_twilio_has_changed_it(changed: Listed) -> None:
    assert finding(SEND, changed) is Finding.FOUND


@pytest.mark.parametrize(
    ("sent", "listed"),
    [
        ("\u201cWell\u201d \u2014 it\u2019s\u2026", '"Well" - it\'s...'),
        ("one\u00a0two\r\nthree", "one two\nthree"),
        ("\u200bzero", "zero"),
    ],
)
def test_what_smart_encoding_changes_makes_no_difference(sent: str, listed: str) -> None:
    assert plain(sent) == plain(listed)
    assert finding(replace(SEND, body=sent), replace(MESSAGE, body=listed)) is Finding.FOUND


@pytest.mark.parametrize(
    "other",
    [
        replace(MESSAGE, outbound=False),
        replace(MESSAGE, sender=OTHER),
        replace(MESSAGE, to="+15551239999"),
        replace(MESSAGE, age=201 + SLACK),
        replace(MESSAGE, age=189 - SLACK),
    ],
)
def test_a_message_that_cannot_be_its_own_is_passed_over(other: Listed) -> None:
    assert finding(SEND, other) is Finding.MISSING


@pytest.mark.parametrize(
    "other",
    [
        replace(MESSAGE, body="hello, see https://short.example/1"),
        replace(MESSAGE, body=""),  # Twilio can be told to redact it
        replace(MESSAGE, media=1),
        replace(MESSAGE, sender=""),
    ],
)
def test_a_message_that_may_be_its_own_leaves_it_unknown(other: Listed) -> None:
    again = replace(SEND, missing=SECOND_LOOK)
    assert finding(again, other) is Finding.UNCERTAIN
    assert finding(again, other, known=["SM1"]) is Finding.REPEAT, "it is another send's"


@pytest.mark.parametrize(
    ("listed", "found"),
    [
        (replace(MESSAGE, service=SERVICE), Finding.FOUND),
        (replace(MESSAGE, service=SERVICE, sender="", status="accepted"), Finding.FOUND),
        (replace(MESSAGE, service=SERVICE, to=f"rcs:{ANN}", sender="rcs:bot"), Finding.FOUND),
        (replace(MESSAGE, service=ANOTHER), Finding.MISSING),
        (MESSAGE, Finding.UNCERTAIN),
    ],
)
def test_a_messaging_service_chooses_number_and_channel(listed: Listed, found: Finding) -> None:
    assert finding(replace(SEND, sender=SERVICE), listed) is found


def test_rcs_may_have_fallen_back_to_another_sender() -> None:
    send = replace(SEND, sender="rcs:bot", to=f"rcs:{ANN}")
    assert finding(send, MESSAGE) is Finding.UNCERTAIN
    assert finding(send, replace(MESSAGE, to=send.to, sender="rcs:bot")) is Finding.FOUND


def test_the_text_of_a_template_is_twilios() -> None:
    send = replace(SEND, body="", template=True)
    assert finding(send, MESSAGE) is Finding.UNCERTAIN
    assert finding(send) is Finding.MISSING


def test_a_template_may_say_what_another_send_says() -> None:
    sends = [SEND, replace(SEND, id=2, body="", template=True)]
    verdicts = look_up(sends, [MESSAGE], known=(), witnesses=())
    assert [verdict.finding for verdict in verdicts] == [Finding.UNCERTAIN] * 2


def test_a_reply_without_a_text_is_known_by_its_media() -> None:
    send = replace(SEND, body="", media=(PICTURE,))
    assert finding(send, replace(MESSAGE, body="", media=1)) is Finding.FOUND
    assert finding(send, replace(MESSAGE, body="", media=0)) is Finding.UNCERTAIN


def test_of_two_pictures_nobody_knows_which_has_left() -> None:
    sends = [replace(SEND, id=n, body="", media=(f"https://a/{n}",)) for n in range(2)]
    verdicts = look_up(sends, [replace(MESSAGE, body="", media=1)], known=(), witnesses=())
    assert [verdict.finding for verdict in verdicts] == [Finding.UNCERTAIN] * 2


def test_the_same_text_twice_needs_two_messages() -> None:
    sends = [replace(SEND, id=n) for n in range(2)]
    verdicts = look_up(sends, [MESSAGE], known=(), witnesses=())
    assert [verdict.finding for verdict in verdicts] == [Finding.FOUND, Finding.MISSING]
    verdicts = look_up(sends, [MESSAGE, replace(MESSAGE, sid="SM2")], known=(), witnesses=())
    assert {verdict.listed.sid for verdict in verdicts if verdict.listed} == {"SM1", "SM2"}


def test_a_message_that_is_listed_twice_is_one() -> None:
    sends = [replace(SEND, id=n) for n in range(2)]
    verdicts = look_up(sends, [MESSAGE, MESSAGE], known=(), witnesses=())
    assert [verdict.finding for verdict in verdicts] == [Finding.FOUND, Finding.MISSING]


def test_a_list_without_what_twilio_is_known_to_have_proves_nothing() -> None:
    again = replace(SEND, missing=SECOND_LOOK)
    assert finding(again, witnesses=["SM9"]) is Finding.UNCERTAIN
    seen = replace(MESSAGE, sid="SM9")
    assert finding(again, seen, known=["SM9"], witnesses=["SM9"]) is Finding.REPEAT


def test_uncertain_ones_are_looked_up_ever_more_rarely() -> None:
    pauses = [
        look_up([replace(SEND, looks=looks)], [replace(MESSAGE, body="")], known=(), witnesses=())[
            0
        ].again
        for looks in range(1, 8)
    ]
    assert pauses == [120, 240, 480, 960, 1920, 3600, 3600]


@pytest.mark.parametrize(
    ("to", "services", "listed"),
    [
        (ANN, False, (ANN,)),
        (ANN, True, (ANN, f"rcs:{ANN}")),
        (f"WhatsApp:{ANN}", True, (f"whatsapp:{ANN}",)),
        (f"rcs:{ANN}", False, (ANN, f"rcs:{ANN}")),
        ("+1 555 123", False, ()),
        ("whatsapp:US.1349", False, ()),
        ("messenger:1", False, ()),
    ],
)
def test_addresses_that_twilio_may_write_otherwise_are_not_looked_up(
    to: str, services: bool, listed: tuple[str, ...]
) -> None:
    assert recipients_of(to, services=services) == listed
    if not listed:
        assert finding(replace(SEND, to=to, missing=SECOND_LOOK)) is Finding.UNCERTAIN


# What Twilio does to a text: nothing, what `plain` knows of, and what nobody knows of.
CHANGES = ("{}", " {} ", "Sent from your Twilio trial account - {}", "", "{} https://short/1")


@dataclass(frozen=True)
class Story:
    """What has happened: sends, which of them Twilio has, and its list."""

    sends: list[Unknown]
    accepted: list[bool]
    listed: list[Listed]


@st.composite
def stories(draw: st.DrawFn) -> Story:
    sends, accepted, listed = [], [], []
    for number in range(draw(st.integers(1, 5))):
        lost = draw(st.integers(int(FIRST_LOOK), 900))
        send = Unknown(
            id=number,
            message_id=number,
            identity=f"reply:{number}",
            sender=draw(st.sampled_from((OURS, SERVICE))),
            to=ANN,
            body=draw(st.sampled_from(("hello", "hello ", "bye", ""))),
            media=draw(st.sampled_from(((), (PICTURE,), ("https://a/2",)))),
            template=draw(st.booleans()),
            written=lost + draw(st.integers(0, 300)),
            lost=lost,
            missing=SECOND_LOOK,
        )
        sends.append(send)
        accepted.append(draw(st.booleans()))
        if accepted[-1]:
            service = send.sender == SERVICE
            listed.append(
                Listed(
                    sid=f"SM{number}",
                    to=draw(st.sampled_from((ANN, f"rcs:{ANN}"))) if service else ANN,
                    sender=draw(st.sampled_from(("", OTHER, OURS))) if service else OURS,
                    service=draw(st.sampled_from(("", SERVICE))) if service else "",
                    body=draw(st.sampled_from(CHANGES)).format(send.body),
                    media=draw(st.sampled_from((len(send.media), 0))),
                    age=draw(st.integers(int(send.lost - SLACK), int(send.written + SLACK))),
                )
            )
    listed += [
        Listed(
            sid=f"MM{number}",
            to=ANN,
            sender=draw(st.sampled_from((OURS, OTHER))),
            service=draw(st.sampled_from(("", SERVICE, ANOTHER))),
            body=draw(st.sampled_from(("hello", "code 1", ""))),
            media=draw(st.integers(0, 1)),
            age=draw(st.integers(0, 1500)),
            outbound=draw(st.booleans()),
        )
        for number in range(draw(st.integers(0, 3)))
    ]
    twice = draw(st.sets(st.integers(0, 9)))  # pages overlap
    listed += [one for number, one in enumerate(listed) if number in twice]
    return Story(sends, accepted, draw(st.permutations(listed)))


def content(send: Unknown) -> tuple[str, str, tuple[str, ...], bool]:
    return send.sender, send.body.strip(), send.media, send.template


@given(stories())
def test_no_more_copies_are_sent_again_than_twilio_lacks(story: Story) -> None:
    verdicts = look_up(story.sends, story.listed, known=(), witnesses=())
    again = Counter(
        content(verdict.send) for verdict in verdicts if verdict.finding is Finding.REPEAT
    )
    lacking = Counter(
        content(send) for send, has in zip(story.sends, story.accepted, strict=True) if not has
    )
    assert again <= lacking


@given(stories(), st.sets(st.integers(0, 4)))
def test_a_message_counts_for_one_send_and_never_for_a_known_ones(
    story: Story, numbers: set[int]
) -> None:
    known = {f"SM{number}" for number in numbers}
    verdicts = look_up(story.sends, story.listed, known=known, witnesses=())
    found = [verdict.listed.sid for verdict in verdicts if verdict.listed]
    assert len(found) == len(set(found))
    assert not known & set(found)
    assert [verdict.send for verdict in verdicts] == story.sends


@given(stories())
def test_what_nothing_in_the_list_may_be_is_sent_again(story: Story) -> None:
    known = [one.sid for one in story.listed]
    verdicts = look_up(story.sends, story.listed, known=known, witnesses=known)
    assert {verdict.finding for verdict in verdicts} == {Finding.REPEAT}


@given(stories(), st.integers(0, 7))
def test_a_list_that_lags_sends_nothing_again(story: Story, number: int) -> None:
    verdicts = look_up(story.sends, story.listed, known=(), witnesses=[f"SM{number + 90}"])
    assert Finding.REPEAT not in {verdict.finding for verdict in verdicts}
