"""Events: services emit them, and logs, metrics and traces observe them.

No event contains a message's text, a signature or a token.
"""

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from typing import Final, NamedTuple, Self

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.core.reasons import Error
from offhook.core.unknown_sends import Finding


# A named tuple, because one is made for each request: 0.4 us, a frozen dataclass takes 1.0.
class Answered(NamedTuple):
    """A webhook was answered.

    Attributes:
        kind: a message or a status.
        status: the HTTP status of the response.
        error: the name of the error in `X-Offhook-Error`; empty if the webhook was accepted.
        repeat: True if it is known to have been stored before: from a cache, or from a store that
            the process writes itself. Of what goes into an arrivals log, see `Sorted`.
        sid: its MessageSid, if it could be read.
        sender: its From, if it could be read; a complete phone number or address.
        validate, enqueue, acknowledge: the duration of each phase in seconds; 0 if not reached.
        detail: details for an operator; never sent to the client.
        cached: where the response was cached, `memory` or `redis`; empty if it was not cached.
        deferred: True if it was stored, and its signature is still to be verified.
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
        """Seconds from the arrival of the request to the response."""
        return self.validate + self.enqueue + self.acknowledge


class Sorted(NamedTuple):
    """Webhooks were moved from arrivals logs, those of a store or of a spool, into the store.

    Attributes:
        new: how many were stored.
        repeated: how many had been stored before.
        waited: seconds from the receipt of the first of them until all were stored.
    """

    new: int
    repeated: int
    waited: float


@dataclass(frozen=True, slots=True)
class Started:
    """A run of a handler begins.

    The observer is called in the context of the run: only this handler sees the context variables
    that the observer sets.

    Attributes:
        message_id: the number of the message in the store.
        kind: a message, a status, or a deferred request.
        sid: its MessageSid.
        attempt: the number of the attempt, from 1.
    """

    message_id: int
    kind: Kind
    sid: str
    attempt: int


@dataclass(frozen=True, slots=True)
class Handled:
    """A run of a handler ended.

    Attributes:
        message_id: the number of the message in the store.
        kind: a message, a status, or a deferred request.
        sid: its MessageSid.
        attempt: the number of the attempt, from 1.
        trigger: the transition of the message.
        waited: seconds from receipt to the start of this run.
        took: the duration of the run, in seconds.
        error: the type of the exception, or an explanation with its `cause`; empty on success.
        traceback: the traceback, for logs that show it.
        delay: seconds until the next attempt, if there is to be one.
        handler: the name of the function that ran; empty if none did.
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
    delay: float = 0.0
    handler: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """An attempt to send a reply or a notice ended.

    Attributes:
        send_id: the number of the send in the ledger.
        message_id: the number of the message that it answers; 0 for none.
        identity: its identity: `reply:0`, `return:0`, `notice:slow`, ...
        trigger: the transition of the send.
        took: seconds until the outcome was known.
        sid: Twilio's MessageSid, if Twilio accepted it.
        error: the reason if Twilio did not, for people.
        message_sid: the MessageSid of the message that it answers.
        retry_in: seconds until it is tried again, if it is postponed.
        fell_back: why the fallback of a reply is sent instead of its text; empty if it is not.
    """

    send_id: int
    message_id: int
    identity: str
    trigger: SendTrigger
    took: float
    sid: str = ""
    error: str = ""
    message_sid: str = ""
    retry_in: float = 0.0
    fell_back: str = ""


@dataclass(frozen=True, slots=True)
class Reported:
    """A status callback of a reply or a notice was recorded.

    Attributes:
        message_id: the number of the status in the store.
        sid: the MessageSid of the reply.
        status: the status that Twilio reports; `other` if it is none of Twilio's.
        code: Twilio's error code, empty for none; `other` if offhook has no sentence about it.
    """

    message_id: int
    sid: str
    status: str
    code: str


@dataclass(frozen=True, slots=True)
class LookedUp:
    """An unknown send was looked up in Twilio's message list.

    Attributes:
        send_id: the number of the send in the ledger.
        message_id: the number of the message that it answers.
        identity: its identity: `reply:0`, `return:0`, `notice:slow`, ...
        finding: what the list shows of it.
        trigger: the transition of the send; None if it stays unknown.
        sid: Twilio's MessageSid, if it was found.
    """

    send_id: int
    message_id: int
    identity: str
    finding: Finding
    trigger: SendTrigger | None
    sid: str = ""


_LASTING: Final = True
_SUBJECTS: Final = 1_000  # with a problem at a time


class Topic(StrEnum):
    """The topic of a problem; the value is its name in logs and metrics.

    Attributes:
        meaning: a description for the documentation.
        lasting: whether the gauge `offhook_trouble_active` shows it until it is resolved.
    """

    meaning: str
    lasting: bool

    SIGNATURE_OFF = "signature-off", "webhooks are not validated (`OFFHOOK_SIGNATURE=off`)"
    WORKER_INLINE = "worker-inline", "handlers run in the process that answers webhooks"
    ASTRAY = "astray", "Twilio called a path that is not a route"
    SETTINGS = (
        "settings",
        "a variable is not a setting, or a setting looks wrong; logged at the start",
    )
    NO_HANDLERS = "no-handlers", "a bot has no handlers; logged at the start"
    NOT_STARTED = (
        "not-started",
        "a mounted app could not start; the next request tries again",
    )
    WORKER_FAILED = "worker-failed", "the worker within the app failed, and is restarted"
    STORE_UNAVAILABLE = (
        "store-unavailable",
        (
            "the store is unavailable, or available again (`resolved`); meanwhile, webhooks are "
            "kept in the arrivals logs of a SQLite store, or in the spool if there is one"
        ),
        _LASTING,
    )
    STORE_BROKEN = (
        "store-broken",
        (
            "the file of the store is missing, replaced or damaged, or usable again "
            "(`resolved`): [what to do](../explanation/guarantees.md#when-the-store-is-broken)"
        ),
        _LASTING,
    )
    STORE_DENIED = (
        "store-denied",
        (
            "PostgreSQL denies a table to the role of the worker, or no longer does (`resolved`); "
            "the text has the GRANT that it needs"
        ),
        _LASTING,
    )
    ARRIVALS = (
        "arrivals",
        (
            "an arrivals log can't be read, was renamed, or had to be copied to another file; or a "
            "webhook in it could not be stored, and was set aside"
        ),
    )
    SPOOL = (
        "spool",
        (
            "the spool cannot be forwarded, is left for the next process, or is empty again "
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
        "`@app.credentials` fails, or works again (`resolved`)",
        _LASTING,
    )
    STATUS_AT_MESSAGES = (
        "status-at-messages",
        "status callbacks are sent to `/twilio/messages`; the text has the correct URL",
    )
    BACKLOG_FULL = (
        "backlog-full",
        ("new messages are refused (`OFFHOOK_MAX_BACKLOG`), or accepted again (`resolved`)"),
        _LASTING,
    )
    INTERNAL_ERROR = "internal-error", "a webhook was answered 503 because of a bug in offhook"
    TYPING = (
        "typing",
        "a WhatsApp typing indicator was not shown; logged for the first one of each worker",
    )
    LONG_REPLY = (
        "long-reply",
        "an SMS has more segments than `OFFHOOK_SEGMENTS_WARNING`; the text says why",
    )
    SEND_FAILED = (
        "send-failed",
        "the outcome of a send could not be recorded; it will be unknown",
    )
    MESSAGE_LIST = (
        "message-list",
        (
            "Twilio's message list, in which unknown sends are looked up, can't be read, or can be "
            "read again (`resolved`)"
        ),
        _LASTING,
    )
    RUN_FAILED = (
        "run-failed",
        "a run could not settle its message, which is rescued as after a crash",
    )
    LEASE_LOST = (
        "lease-lost",
        "another run has the message, or a send took longer than its lease",
    )
    CLOCK_STEPPED = (
        "clock-stepped",
        "the clock of the machine or of the database server was set; this delays nothing",
    )
    BURIED = "buried", "a message is dead because five workers crashed while running it"
    LOOP_SUSPECTED = "loop-suspected", "a message is parked because two bots are in a loop"
    PARKED_EXPIRE = (
        "parked-expire",
        "parked messages are deleted within a week; logged once a day",
    )
    STATUS_LOOP = (
        "status-loop",
        "a status handler returned a reply to the status of a message that it had returned itself",
    )
    SENDER_LIMIT = (
        "sender-limit",
        "a message is parked: its sender exceeds `OFFHOOK_SENDER_LIMIT`; logged once a window",
    )
    HANDLER_BLOCKS = (
        "handler-blocks",
        "an `async def` handler blocked the event loop, or the process was stopped",
    )
    ALERT = (
        "alert",
        (
            "an [alert](../how-to/monitor.md#alerts) is raised, changes its level, or is cleared "
            "(`resolved`)"
        ),
    )
    ALERT_WEBHOOK = (
        "alert-webhook",
        "an alert could not be posted to `OFFHOOK_ALERT_WEBHOOK`, or can be again (`resolved`)",
    )
    REPLY_NOT_AWAITED = (
        "reply-not-awaited",
        "a handler returned without awaiting a reply, or another call; the text names the line",
    )
    REPLY_DIFFERS = (
        "reply-differs",
        "a repeated attempt wrote a different text from the first, whose text is kept",
    )

    def __new__(cls, value: str, meaning: str, lasting: bool = False) -> Self:
        """Make a member from its name and description."""
        topic = str.__new__(cls, value)
        topic._value_ = value
        topic.meaning = meaning
        topic.lasting = lasting
        return topic


@dataclass(frozen=True, slots=True)
class Problem:
    """A problem that an operator should know about.

    Attributes:
        topic: its topic, which compares equal to its name, for example `"lease-lost"`.
        text: a sentence that describes it, without message texts.
        resolved: True if the problem is resolved.
    """

    topic: Topic
    text: str
    resolved: bool = False


Event = Answered | Sorted | Started | Handled | Sent | Reported | LookedUp | Problem
Observer = Callable[[Event], None]
"""Called on the event loop, or on another thread of offhook's (a worker's heartbeat, an arrivals
log); must be quick and must not raise."""


def fan_out(*observers: Observer) -> Observer:
    """Return one observer that calls all of these."""
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
        topic: the topic of the problems.

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


class Incidents:
    """Report one problem of several subjects: once for each, and once that none has it any more.

    A subject of which nothing is heard does not keep the problem from being resolved for longer
    than `lasting` seconds.

    Args:
        observer: called with the problems.
        topic: the topic of the problems.
        lasting: seconds.
        clock: monotonic, in seconds.
    """

    def __init__(
        self, observer: Observer, topic: Topic, *, lasting: float, clock: Callable[[], float]
    ) -> None:
        self._observer = observer
        self._topic = topic
        self._lasting = lasting
        self._clock = clock
        self._last: dict[str, float] = {}

    def begin(self, subject: str, text: str) -> None:
        """Report that a subject has the problem, unless that is known."""
        is_new = self._last.pop(subject, None) is None
        self._last[subject] = self._clock()
        if len(self._last) > _SUBJECTS:
            del self._last[next(iter(self._last))]
        if is_new:
            self._observer(Problem(self._topic, text))

    def end(self, subject: str, text: str) -> None:
        """Note that a subject does not have the problem; report it if no other has."""
        if not self._last:
            return
        self._last.pop(subject, None)
        forgotten = self._clock() - self._lasting
        self._last = {one: last for one, last in self._last.items() if last > forgotten}
        if not self._last:
            self._observer(Problem(self._topic, text, resolved=True))
