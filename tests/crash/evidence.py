"""All that is known when a crash test is over, from four witnesses that do not know each other."""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TypeVar

from offhook.core.messages import Send
from offhook.stores.api import Record
from tests.crash.journal import Entry
from tests.crash.killer import Kill
from tests.crash.line import Requested
from tests.crash.plan import Load, Utterance
from tests.crash.senders import Tally

K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True)
class Evidence:
    """What people, bot, store and Twilio saw.

    Attributes:
        script: what people had to say.
        tally: how their webhooks were answered.
        journal: the bot's own, in order.
        messages, statuses: the store's, all of them.
        sends: the ledger, by the SID of the message.
        requests: those that reached the REST side, in order.
        accepted: how often Twilio has accepted a row of the ledger.
        visits: how often an operator has looked at the store meanwhile.
        refusals: how often connections to the REST side were refused for a while.
        complaints: what else was found wrong, in the database server's log, say.
        arrived: how often Twilio has accepted a row in the end, once its list was asked for what
            was unknown, and what it lacked was sent again.
        rows_in_the_end: the ledger then.
        seconds: from the start of the load until all was settled.
    """

    load: Load
    script: Sequence[Utterance]
    tally: Tally
    journal: Sequence[Entry]
    messages: Sequence[Record]
    statuses: Sequence[Record]
    sends: Mapping[str, Sequence[Send]]
    requests: Sequence[Requested]
    accepted: Mapping[int, int]
    kills: Sequence[Kill]
    refusals: int
    visits: int
    seconds: float
    complaints: Sequence[str] = ()
    arrived: Mapping[int, int] = field(default_factory=dict)
    rows_in_the_end: Sequence[Send] = ()

    @cached_property
    def runs(self) -> Mapping[str, Sequence[Entry]]:
        """The journal, by message."""
        return _grouped((entry.sid, entry) for entry in self.journal)

    @cached_property
    def by_row(self) -> Mapping[int, Sequence[Requested]]:
        """The requests, by row of the ledger."""
        return _grouped((request.row, request) for request in self.requests)

    @cached_property
    def rows(self) -> Sequence[Send]:
        """The ledger."""
        return [send for sends in self.sends.values() for send in sends]

    def completions(self, sid: str) -> int:
        """Return how many runs of a message came to their end."""
        return sum(entry.completes for entry in self.runs.get(sid, ()))

    def killed_runs(self, sid: str) -> int:
        """Return how many kills may have hit a run of a message, whose settling was open."""
        pids = {entry.pid for entry in self.runs.get(sid, ())}
        return sum(sid in kill.running and not pids.isdisjoint(kill.pids) for kill in self.kills)


def _grouped(pairs: Iterable[tuple[K, V]]) -> Mapping[K, Sequence[V]]:
    groups: defaultdict[K, list[V]] = defaultdict(list)
    for key, value in pairs:
        groups[key].append(value)
    return dict(groups)
