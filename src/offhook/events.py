"""What happens, told once: services emit these, logs, metrics and traces listen.

No event carries a message's text, a signature or a token.
"""

from collections.abc import Callable
from dataclasses import dataclass

from offhook.core.keys import Kind
from offhook.core.lifecycle import SendTrigger, Trigger


@dataclass(frozen=True, slots=True)
class Answered:
    """A webhook was answered.

    Attributes:
        error: the error's name as in `X-Offhook-Error`, empty when it was accepted.
        repeat: True when it had been stored before.
        validate, enqueue, acknowledge: the phases' own durations in seconds; zero if not reached.
        detail: what an operator needs to mend it; never sent to the client.
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

    @property
    def total(self) -> float:
        """Seconds from the request's arrival to its answer."""
        return self.validate + self.enqueue + self.acknowledge


@dataclass(frozen=True, slots=True)
class Handled:
    """A run of a handler ended.

    Attributes:
        waited: seconds from receipt to the start of this run.
        took: seconds that it ran.
        error: the exception's type, or a reason; empty when it completed.
        traceback: for the log of one who asked for it.
    """

    message_id: int
    kind: Kind
    sid: str
    attempt: int
    trigger: Trigger
    waited: float
    took: float
    error: str = ""
    traceback: str = ""


@dataclass(frozen=True, slots=True)
class Sent:
    """A send was tried."""

    send_id: int
    message_id: int
    identity: str
    trigger: SendTrigger
    took: float
    sid: str = ""
    error: str = ""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Something an operator should know, said in a sentence.

    Attributes:
        topic: a short kebab-case name: `store-unavailable`, `lease-lost`, `loop-suspected`,
            `handler-blocks`, `reply-differs`, `signature-off`, ...
        ok: True when the trouble is over.
    """

    topic: str
    text: str
    ok: bool = False


Event = Answered | Handled | Sent | Trouble
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
