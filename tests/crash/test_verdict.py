"""The judge is judged first: each invariant notices when it is broken, and only then."""

from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, State
from offhook.core.messages import Send
from offhook.core.reasons import Cause
from offhook.stores.api import Record
from tests.crash.evidence import Evidence
from tests.crash.invariants import INVARIANTS, violations
from tests.crash.journal import Entry
from tests.crash.killer import Kill
from tests.crash.line import Requested
from tests.crash.plan import Action, Load, Target, Utterance, sender
from tests.crash.senders import Tally
from tests.crash.verdict import Verdict

SCRIPT = [Utterance(f"SM{number}", 7, number, Action.RETURN, 0.0) for number in range(3)]
WORKER = 4711


def entry(event: str, number: int, pid: int = WORKER) -> Entry:
    return Entry(event, f"SM{number}", 1, 7, number, pid)


def record(number: int, state: State = State.DONE) -> Record:
    return Record(
        id=number,
        kind=Kind.MESSAGE,
        state=state,
        sid=f"SM{number}",
        account_sid="AC1",
        sender=sender(7),
        recipient="+15005550006",
        lane="lane",
        attempts=1,
        crashes=0,
        received=0.0,
        started=0.0,
        settled=0.0,
        due=None,
        error="",
        form=b"",
    )


def send(number: int, state: SendState = SendState.SENT, identity: str = "return:0") -> Send:
    return Send(number, identity, state, f"re 7 {number} return", sender(7))


def request(number: int, status: int = 201) -> Requested:
    return Requested(number, sender(7), f"re 7 {number} return", status, read=True)


SOUND = Evidence(
    load=Load(messages=3, conversations=1, seconds=1.0, kills=1),
    script=SCRIPT,
    tally=Tally(acknowledged=SCRIPT, seconds=[0.1, 0.2, 0.3], answers=Counter({200: 3, 503: 1})),
    # Message 1 had completed, and was not settled, when its worker was killed.
    journal=[
        *(entry("start", 0), entry("done", 0), entry("start", 1), entry("done", 1)),
        *(entry("start", 1, 2), entry("done", 1, 2), entry("start", 2, 2), entry("done", 2, 2)),
    ],
    messages=[record(number) for number in range(3)],
    statuses=[],
    sends={f"SM{number}": [send(number)] for number in range(3)},
    requests=[request(0), request(1, 429), request(1), request(2)],
    accepted={0: 1, 1: 1, 2: 1},
    kills=[Kill(0.5, Target.WORKER, frozenset({WORKER}), frozenset({"SM1"}))],
    refusals=0,
    visits=1,
    seconds=1.0,
    arrived={0: 1, 1: 1, 2: 1},
    rows_in_the_end=[send(number) for number in range(3)],
)

OPEN, DEAD = record(2, State.OPEN), record(9, State.DEAD)
FAILED = send(2, SendState.FAILED)
ANOTHER = Kill(0.5, Target.WORKER, frozenset({1}), frozenset({"SM1"}))
FORBIDDEN = Counter({403: 1})

FLAWS: list[tuple[str, Callable[[Evidence], Evidence]]] = [
    ("stored_once", lambda e: replace(e, messages=[*e.messages[:2]])),
    ("stored_once", lambda e: replace(e, messages=[*e.messages, record(2)])),
    ("settled_as_intended", lambda e: replace(e, messages=[*e.messages[:2], OPEN])),
    ("settled_as_intended", lambda e: replace(e, statuses=[DEAD])),
    ("repeated_only_by_kills", lambda e: replace(e, kills=[ANOTHER])),
    ("repeated_only_by_kills", lambda e: replace(e, journal=e.journal[:-1])),
    ("handled_in_order", lambda e: replace(e, journal=[*e.journal[6:], *e.journal[:6]])),
    ("requested_once", lambda e: replace(e, requests=[*e.requests, request(0, 0)])),
    ("sent_as_intended", lambda e: replace(e, sends={**e.sends, "SM2": []})),
    ("sent_as_intended", lambda e: replace(e, sends={**e.sends, "SM2": [FAILED]})),
    ("known_as_sent", lambda e: replace(e, accepted={0: 1, 1: 1})),
    ("known_as_sent", lambda e: replace(e, accepted={0: 2, 1: 1, 2: 1})),
    ("known_as_sent", lambda e: replace(e, accepted={**e.accepted, 4: 1})),
    ("arrived_in_the_end", lambda e: replace(e, arrived={0: 1, 1: 1})),
    ("arrived_in_the_end", lambda e: replace(e, arrived={0: 2, 1: 1, 2: 1})),
    ("arrived_in_the_end", lambda e: replace(e, rows_in_the_end=[send(2, SendState.UNKNOWN)])),
    ("told_in_order", lambda e: replace(e, requests=list(reversed(e.requests)))),
    ("refused_for_a_reason", lambda e: replace(e, tally=replace(e.tally, answers=FORBIDDEN))),
    ("killed_as_planned", lambda e: replace(e, kills=[*e.kills, *e.kills])),
    ("visited_meanwhile", lambda e: replace(e, visits=0)),
    ("nothing_else", lambda e: replace(e, complaints=["deadlock detected"])),
]  # fmt: skip


def test_a_sound_run_is_found_sound() -> None:
    assert violations(SOUND) == []


@pytest.mark.parametrize(("name", "spoil"), FLAWS)
def test_a_flaw_is_found(name: str, spoil: Callable[[Evidence], Evidence]) -> None:
    found = {violation.partition(":")[0] for violation in violations(spoil(SOUND))}
    assert name in found


def test_every_invariant_has_been_broken_once() -> None:
    assert {name for name, _ in FLAWS} == {holds.__name__ for holds in INVARIANTS}


def test_the_counts_are_those_of_the_evidence() -> None:
    verdict = Verdict.of(SOUND)
    assert (verdict.acknowledged, verdict.starts, verdict.completions) == (3, 4, 4)
    assert verdict.in_flight == 1
    assert verdict.requests == {201: 3, 429: 1}
    assert "done 3" in str(verdict)


def test_unknown_sends_are_told_apart_by_what_twilio_knows() -> None:
    lost = str(Cause.SEND_LOST())
    orphaned, cut_off, delivered = (
        replace(send(number, SendState.UNKNOWN), error=error)
        for number, error in enumerate((lost, "no answer was read: ReadError", lost))
    )
    sends = {"SM0": [orphaned], "SM1": [cut_off], "SM2": [delivered]}
    evidence = replace(SOUND, sends=sends, requests=SOUND.requests[3:], accepted={2: 1})
    verdict = Verdict.of(evidence)
    assert (verdict.delivered_unknown, verdict.orphaned, verdict.cut_off) == (1, 1, 1)
    assert verdict.violations == ()
