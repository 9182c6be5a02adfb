"""What happens, told once: services emit these, logs, metrics and traces listen.

No event carries a message's text, a signature or a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.core.reasons import Error


# A named tuple, because one is made for each request: 0.4 us, a frozen dataclass takes 1.0.
class Answered(NamedTuple):
    """A webhook was answered.

    Attributes:
        kind: what was called for: a message or a status.
        status: of the HTTP answer.
        error: the error's name as in `X-Offhook-Error`, empty when it was accepted.
        repeat: True when it had been stored before.
        sid: its MessageSid, as far as it was read.
        sender: its From, likewise; a whole number, or address.
        validate, enqueue, acknowledge: the phases' own durations in seconds; zero if not reached.
        detail: what an operator needs to mend it; never sent to the client.
        cached: where the answer was remembered, `memory` or `redis`; empty when it was found out.
        deferred: True when it was stored without being verified yet.
    """

    kind: Kind
    status: int
    error: str
    repeat: bool
    sid: str
    sender: str
    validate: float
    enqueue: float
    acknowledge: float
    detail: str = ""
    cached: str = ""
    deferred: bool = False

    @property
    def total(self) -> float:
        """Seconds from the request's arrival to its answer."""
        return self.validate + self.enqueue + self.acknowledge


@dataclass(frozen=True, slots=True)
class Started:
    """A run of a handler begins.

    Told in the run's own context: what an observer sets in a context variable, the handler sees,
    and nobody else.

    Attributes:
        message_id: its number in the store.
        kind: a message, a status, or a request that was stored to be verified.
        sid: its MessageSid.
        attempt: which run it is, from 1.
    """

    message_id: int
    kind: Kind
    sid: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Handled:
    """A run of a handler ended.

    Attributes:
        message_id: its number in the store.
        kind: a message, a status, or a request that was stored to be verified.
        sid: its MessageSid.
        attempt: which run it was, from 1.
        trigger: what the run means for the message.
        waited: seconds from receipt to the start of this run.
        took: seconds that it ran.
        error: the exception's type, or an explanation with its `cause`; empty when it completed.
        traceback: for a log that is to show tracebacks.
    """

    message_id: int
    kind: Kind
    sid: str
    attempt: int
    trigger: Trigger
    waited: float
    took: float
    error: Error = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A send was tried.

    Attributes:
        send_id: its number in the ledger.
        message_id: the number of the message it answers.
        identity: which reply it is: `reply:0`, `return:0`, `notice:slow`, ...
        trigger: what the outcome means for the send.
        took: seconds until the outcome was known.
        sid: Twilio's MessageSid, if it was accepted.
        error: why it was not, for people.
        message_sid: the MessageSid of the message it answers.
    """

    send_id: int
    message_id: int
    identity: str
    trigger: SendTrigger
    took: float
    sid: str = ""
    error: str = ""
    message_sid: str = ""


_LASTING: Final = True


class Topic(StrEnum):
    """What a problem is about; the value is its name in logs and metrics.

    Attributes:
        meaning: what is the matter, for the documentation.
        lasting: whether the gauge `offhook_trouble_active` shows it until it is over.
    """

    meaning: str
    lasting: bool

    SIGNATURE_OFF = "signature-off", "webhooks are not validated (`OFFHOOK_SIGNATURE=off`)"
    WORKER_INLINE = "worker-inline", "handlers run in the process that answers"
    ASTRAY = "astray", "a webhook that Twilio has signed came to a path that is not a route"
    SETTINGS = (
        "settings",
        "a variable is not a setting, or a setting looks wrong; logged at the start",
    )
    NO_HANDLERS = "no-handlers", "a bot has no handlers; logged at the start"
    NOT_STARTED = (
        "not-started",
        "a mounted app could not start; it is tried again with the next request",
    )
    WORKER_FAILED = "worker-failed", "the worker within the app has failed, and is restarted"
    STORE_UNAVAILABLE = (
        "store-unavailable",
        (
            "the store is away, and since it is back (`resolved`); with a spool, webhooks are kept "
            "there meanwhile"
        ),
        _LASTING,
    )
    STORE_BROKEN = (
        "store-broken",
        (
            "the store's file is gone, replaced or damaged, and since it can be used again "
            "(`resolved`): [what to do](../explanation/guarantees.md#when-the-store-is-broken)"
        ),
        _LASTING,
    )
    SPOOL = (
        "spool",
        (
            "the spool can't be forwarded, is left for the next process, or is empty again "
            "(`resolved`)"
        ),
        _LASTING,
    )
    CACHE_UNAVAILABLE = (
        "cache-unavailable",
        "Redis is unavailable, or available again (`resolved`); memory is used meanwhile",
        _LASTING,
    )
    CREDENTIALS_UNAVAILABLE = (
        "credentials-unavailable",
        "`@app.credentials` fails, and since it works again (`resolved`)",
        _LASTING,
    )
    STATUS_AT_MESSAGES = (
        "status-at-messages",
        "status callbacks come to `/twilio/messages`: recorded; the text has the right URL",
    )
    BACKLOG_FULL = (
        "backlog-full",
        (
            "new messages are refused (`OFFHOOK_MAX_BACKLOG`), and since they are let in again "
            "(`resolved`)"
        ),
        _LASTING,
    )
    INTERNAL_ERROR = "internal-error", "a webhook was answered 503 because of a mistake in offhook"
    SEND_FAILED = (
        "send-failed",
        "what became of a send could not be recorded; it will be unknown",
    )
    RUN_FAILED = (
        "run-failed",
        "a run could not settle its message; it is rescued as from a crash",
    )
    LEASE_LOST = (
        "lease-lost",
        "another run has the message, or a send took longer than its lease",
    )
    CLOCK_STEPPED = (
        "clock-stepped",
        "the clock of the machine, or of the database's server, was set; nothing is delayed by it",
    )
    BURIED = "buried", "a message is dead because five workers died while it ran"
    LOOP_SUSPECTED = "loop-suspected", "a message is parked: two bots are talking with each other"
    PARKED_EXPIRE = (
        "parked-expire",
        "parked messages are deleted within a week; logged once a day",
    )
    SENDER_LIMIT = (
        "sender-limit",
        "a message is parked: its sender has exceeded `OFFHOOK_SENDER_LIMIT`; logged once a window",
    )
    HANDLER_BLOCKS = (
        "handler-blocks",
        "the event loop was blocked, by an `async def` handler, or the process was stopped",
    )
    ALERT = (
        "alert",
        (
            "an [alert](../how-to/monitor.md#alerts) is raised or changes its level, and since it "
            "is over (`resolved`)"
        ),
    )
    ALERT_WEBHOOK = (
        "alert-webhook",
        "an alert could not be posted to `OFFHOOK_ALERT_WEBHOOK`, and since it can be (`resolved`)",
    )
    REPLY_NOT_AWAITED = (
        "reply-not-awaited",
        "a handler returned without having awaited a reply; the text names the line",
    )
    REPLY_DIFFERS = (
        "reply-differs",
        "a repeated attempt wrote another text than the first, whose text is kept",
    )

    def __new__(cls, value: str, meaning: str, lasting: bool = False) -> Self:
        """Make a member from its name and what it means."""
        topic = str.__new__(cls, value)
        topic._value_ = value
        topic.meaning = meaning
        topic.lasting = lasting
        return topic


@dataclass(frozen=True, slots=True)
class Problem:
    """Something an operator should know, said in a sentence.

    Attributes:
        topic: what it is about; it compares equal to its name, as `"lease-lost"`.
        text: the sentence; it quotes nobody.
        resolved: True when the problem is over.
    """

    topic: Topic
    text: str
    resolved: bool = False


Event = Answered | Started | Handled | Sent | Problem
Observer = Callable[[Event], None]
"""Called on the event loop, or on a worker's heartbeat thread; must be quick and must not raise."""


def fan_out(*observers: Observer) -> Observer:
    """Return one observer that tells all."""
    if len(observers) == 1:
        return observers[0]

    def tell(event: Event) -> None:
        for observer in observers:
            observer(event)

    return tell


class Incident:
    """Report a problem once while it lasts, and once that it is resolved.

    Args:
        observer: called with the problems.
        topic: theirs.

    Attributes:
        lasts: whether it was reported, and is not resolved yet.
    """

    def __init__(self, observer: Observer, topic: Topic) -> None:
        self._observer = observer
        self._topic = topic
        self._text = ""
        self.lasts = False

    def begin(self, text: str) -> None:
        """Report the problem, unless it lasts already."""
        if not self.lasts:
            self.report(text)

    def update(self, text: str) -> None:
        """Report the problem, unless this text was its last report."""
        if not self.lasts or text != self._text:
            self.report(text)

    def report(self, text: str) -> None:
        """Report the problem, whatever was reported before."""
        self.lasts, self._text = True, text
        self._observer(Problem(self._topic, text))

    def end(self, text: str) -> None:
        """Report that the problem is resolved, if it lasts."""
        if self.lasts:
            self.lasts = False
            self._observer(Problem(self._topic, text, resolved=True))
