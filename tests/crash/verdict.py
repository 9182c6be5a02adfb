"""The counts of a crash test, and what it has found."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from offhook.core.lifecycle import SendState, State
from offhook.core.reasons import Cause
from tests.crash.evidence import Evidence
from tests.crash.invariants import violations
from tests.crash.line import CREATED


@dataclass(frozen=True, slots=True)
class Verdict:
    """The counts of a crash test, and what it has found. Times in seconds.

    Attributes:
        messages: settled, by state.
        statuses: status callbacks that were stored and settled.
        in_flight: runs that were under way on what was killed, all kills together.
        completions: runs that came to their end; at most `acknowledged` + `in_flight`.
        rows: sends of the ledger, by state.
        resolved: sends that are sent although Twilio's answer never arrived whole.
        delivered_unknown: unknown ones which Twilio did accept: their callbacks were lost too.
        orphaned: unknown ones of which no request came through whole, because their worker died.
        cut_off: the same, because the REST side went down: they had left, into a connection that
            the kernel had accepted, and nobody read them.
        repeated: those sent again once Twilio's list was asked.
    """

    acknowledged: int
    repeats: int
    answers: Counter[int]
    messages: Counter[State]
    statuses: int
    starts: int
    completions: int
    in_flight: int
    kills: Counter[str]
    requests: Counter[int]
    refusals: int
    visits: int
    rows: Counter[SendState]
    resolved: int
    delivered_unknown: int
    orphaned: int
    cut_off: int
    repeated: int
    p50: float
    p99: float
    worst: float
    seconds: float
    violations: tuple[str, ...]

    @classmethod
    def of(cls, evidence: Evidence) -> "Verdict":
        unknown = [send for send in evidence.rows if send.state is SendState.UNKNOWN]
        unheard = [send for send in unknown if not evidence.accepted.get(send.id, 0)]
        orphaned = [send for send in unheard if send.error == str(Cause.SEND_LOST())]
        times = sorted(evidence.tally.seconds)
        script = evidence.script
        return cls(
            acknowledged=len(evidence.tally.acknowledged),
            repeats=evidence.tally.repeats,
            answers=evidence.tally.answers,
            messages=Counter(record.state for record in evidence.messages),
            statuses=len(evidence.statuses),
            starts=sum(entry.begins for entry in evidence.journal),
            completions=sum(evidence.completions(utterance.sid) for utterance in script),
            in_flight=sum(evidence.killed_runs(utterance.sid) for utterance in script),
            kills=Counter(kill.target.value for kill in evidence.kills),
            requests=Counter(request.status for request in evidence.requests),
            refusals=evidence.refusals,
            visits=evidence.visits,
            rows=Counter(send.state for send in evidence.rows),
            resolved=sum(
                send.state is SendState.SENT and not _was_answered(evidence, send.id)
                for send in evidence.rows
            ),
            delivered_unknown=len(unknown) - len(unheard),
            orphaned=len(orphaned),
            cut_off=len(unheard) - len(orphaned),
            repeated=sum(evidence.arrived.values()) - sum(evidence.accepted.values()),
            p50=times[len(times) // 2],
            p99=times[int(len(times) * 0.99)],
            worst=times[-1],
            seconds=evidence.seconds,
            violations=tuple(violations(evidence)),
        )

    def __str__(self) -> str:
        table = [f"  {name:<18}{text}" for name, text in self._lines()]
        return "\n".join([*table, *(f"    {wrong}" for wrong in self.violations[:40])])

    def _lines(self) -> Iterator[tuple[str, str]]:
        yield "acknowledged", f"{self.acknowledged} messages, {self.repeats} repeated deliveries"
        yield "answers", f"{_listed(self.answers)} (0: none)"
        yield "acknowledge time", f"p50 {_ms(self.p50)}, p99 {_ms(self.p99)}, {_ms(self.worst)} max"
        yield "kills", _listed(self.kills)
        yield "visits", f"{self.visits}, by an operator's commands and backups"
        yield "settled", f"{_listed(self.messages)}; and {self.statuses} statuses"
        yield "runs", f"{self.starts} begun, {self.completions} completed"
        yield "runs killed", f"{self.in_flight}, all kills together"
        yield "REST requests", f"{_listed(self.requests)} (0: none)"
        yield "REST refusing", f"{self.refusals} times, connections for a while"
        yield "sends", _listed(self.rows)
        yield "unanswered sends", f"{self.resolved} resolved by callback"
        yield (
            "unknown sends",
            f"{self.delivered_unknown} delivered, {self.orphaned} of killed workers",
        )
        yield "sends cut off", f"{self.cut_off}, by a REST side that went down"
        yield "sends repeated", f"{self.repeated}, which Twilio's message list lacked"
        yield "wall time", f"{self.seconds:.1f} s"
        yield "violations", f"{len(self.violations)}"


def _was_answered(evidence: Evidence, row: int) -> bool:
    requests = evidence.by_row.get(row, ())
    return any(request.status == CREATED and request.read for request in requests)


def _listed(counts: Counter[State] | Counter[SendState] | Counter[int] | Counter[str]) -> str:
    return ", ".join(f"{name} {count}" for name, count in sorted(counts.items()))


def _ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"
