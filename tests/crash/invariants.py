"""The invariants: each a function that yields what is wrong."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence

from offhook.core.lifecycle import SendState, State
from tests.crash.evidence import Evidence
from tests.crash.line import TOO_MANY
from tests.crash.plan import Action
from tests.crash.senders import OK

INTENDED = {Action.DISCARD: State.DISCARDED, Action.BROKEN: State.DEAD}
"""How messages end that are not done."""

REPLIES = {
    Action.RETURN: "return:0",
    Action.THREAD: "return:0",
    Action.REPLY: "reply:0",
    Action.FLAKY: "reply:0",
}

# It could not be stored, and Twilio shall come again: the one refusal a crash may cause. Nobody
# answered (0) is none.
_MAY_BE_ANSWERED = {OK, 503, 0}

Violations = Iterator[str]


def stored_once(evidence: Evidence) -> Violations:
    """Every message that was acknowledged is stored, once, and nothing else is."""
    stored = Counter(record.sid for record in evidence.messages)
    acknowledged = {utterance.sid for utterance in evidence.tally.acknowledged}
    yield from (f"{sid} was acknowledged and is gone" for sid in acknowledged - stored.keys())
    yield from (f"{sid} is stored {n} times" for sid, n in stored.items() if n > 1)
    said = {utterance.sid for utterance in evidence.script}
    yield from (f"{sid} was never sent" for sid in stored.keys() - said)
    yield from (f"{sid} was never acknowledged" for sid in said - acknowledged)


def settled_as_intended(evidence: Evidence) -> Violations:
    """Every message is done, or discarded or dead where the bot means it."""
    action = {utterance.sid: utterance.action for utterance in evidence.script}
    for record in evidence.messages:
        wanted = INTENDED.get(action[record.sid], State.DONE)
        if record.state is not wanted:
            yield f"{record.sid} ({action[record.sid]}) is {record.state}, not {wanted}"
    for record in evidence.statuses:
        if record.state is not State.DONE:
            yield f"the status {record.id} is {record.state}"


def repeated_only_by_kills(evidence: Evidence) -> Violations:
    """A message's handler comes to its end once, and once more for each kill that hit a run."""
    for utterance in evidence.script:
        count, kills = evidence.completions(utterance.sid), evidence.killed_runs(utterance.sid)
        if not 1 <= count <= 1 + kills:
            yield f"{utterance.sid} completed {count} times, and {kills} of its runs were killed"


def handled_in_order(evidence: Evidence) -> Violations:
    """In a conversation, no message begins before the one that was sent before has completed."""
    completed: Counter[int] = Counter()  # by conversation: how many, which is the next's number
    for entry in evidence.journal:
        due = completed[entry.conversation]
        # The one before may run once more: it had completed, but not been settled, at a kill.
        if entry.begins and entry.number not in {due, due - 1}:
            yield f"message {entry.number} of {entry.conversation} began when {due} was due"
        if entry.completes and entry.number == due:
            completed[entry.conversation] += 1


def requested_once(evidence: Evidence) -> Violations:
    """A row of the ledger is requested once; once more after each 429."""
    for row, requests in evidence.by_row.items():
        count = sum(request.status != TOO_MANY for request in requests)
        if count > 1:
            yield f"send {row} was requested {count} times, those answered 429 not counted"


def sent_as_intended(evidence: Evidence) -> Violations:
    """The ledger has the replies that the bot makes, and each is sent, or unknown."""
    for utterance in evidence.script:
        sends = evidence.sends.get(utterance.sid, ())
        replies = [send.identity for send in sends if not send.identity.startswith("notice:")]
        wanted = [REPLIES[utterance.action]] if utterance.action in REPLIES else []
        if replies != wanted:
            yield f"{utterance.sid} ({utterance.action}) has the replies {replies}"
    for send in evidence.rows:
        notice = send.identity.startswith("notice:")
        if send.state not in {SendState.SENT, SendState.UNKNOWN} and not (
            notice and send.state is SendState.CANCELED
        ):
            yield f"send {send.id} ({send.identity}) is {send.state}: {send.error}"


def known_as_sent(evidence: Evidence) -> Violations:
    """What is sent, Twilio has accepted once; what is canceled, or not in the ledger, never."""
    strangers = evidence.accepted.keys() - {send.id for send in evidence.rows}
    yield from (f"Twilio has accepted send {row}, which is in no ledger" for row in strangers)
    for send in evidence.rows:
        accepted = evidence.accepted.get(send.id, 0)
        if send.state is SendState.SENT and accepted != 1:
            yield f"send {send.id} is sent, and Twilio has accepted it {accepted} times"
        if send.state is SendState.CANCELED and accepted:
            yield f"send {send.id} is canceled, and Twilio has accepted it"


def arrived_in_the_end(evidence: Evidence) -> Violations:
    """Once Twilio's list was asked, nothing is unknown, missing or doubled."""
    for send in evidence.rows_in_the_end:
        arrived = evidence.arrived.get(send.id, 0)
        if send.state is SendState.UNKNOWN:
            yield f"send {send.id} is still unknown, and Twilio has accepted it {arrived} times"
        elif arrived != (send.state is not SendState.CANCELED):
            yield f"send {send.id} is {send.state} in the end, and has arrived {arrived} times"


def told_in_order(evidence: Evidence) -> Violations:
    """A person gets the replies in the order of the messages, and none twice."""
    latest: dict[str, int] = {}
    for request in evidence.requests:
        if request.status == TOO_MANY or not request.body.startswith("re "):
            continue
        number = int(request.body.split()[2])
        if number <= latest.get(request.to, -1):
            yield f"{request.to} got reply {number} after {latest[request.to]}"
        latest[request.to] = max(number, latest.get(request.to, -1))


def refused_for_a_reason(evidence: Evidence) -> Violations:
    """Webhooks are acknowledged, or not answered, or refused with 503."""
    for status in evidence.tally.answers.keys() - _MAY_BE_ANSWERED:
        yield f"{evidence.tally.answers[status]} webhooks were answered {status}"


def killed_as_planned(evidence: Evidence) -> Violations:
    """All kills took place."""
    if len(evidence.kills) != evidence.load.blows:
        yield f"{len(evidence.kills)} kills instead of {evidence.load.blows}"


def visited_meanwhile(evidence: Evidence) -> Violations:
    """An operator has looked at the store while processes were killed."""
    if not evidence.visits:
        yield "no command and no backup has run"


def nothing_else(evidence: Evidence) -> Violations:
    """Nobody else complains."""
    yield from evidence.complaints


INVARIANTS: Sequence[Callable[[Evidence], Violations]] = (
    stored_once,
    settled_as_intended,
    repeated_only_by_kills,
    handled_in_order,
    requested_once,
    sent_as_intended,
    known_as_sent,
    arrived_in_the_end,
    told_in_order,
    refused_for_a_reason,
    killed_as_planned,
    visited_meanwhile,
    nothing_else,
)


def violations(evidence: Evidence) -> list[str]:
    """Return what is wrong, each with the invariant that it breaks."""
    return [f"{holds.__name__}: {wrong}" for holds in INVARIANTS for wrong in holds(evidence)]
