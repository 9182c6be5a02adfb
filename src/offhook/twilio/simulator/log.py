"""The simulator's events: recorded, passed to listeners, and waited for."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

from offhook.core.messages import Attachment
from offhook.twilio.simulator.delivery import Request
from offhook.twilio.simulator.payloads import Params
from offhook.twilio.simulator.twiml import Said

KEPT: Final = 10_000
"""Entries of each kind kept in memory; older ones are dropped."""


@dataclass(frozen=True, slots=True)
class Texted:
    """A person has sent a message; its webhook is about to be requested.

    Attributes:
        params: as the webhook will carry them.
        time: seconds since the epoch.
    """

    sid: str
    from_: str
    to: str
    params: Params = field(repr=False)
    time: float


@dataclass(frozen=True, slots=True)
class Delivered:
    """A person's message whose webhook was answered, or whose delivery failed.

    Attributes:
        status: the last HTTP status; 0 without a response.
        seconds: from the start of the last attempt to its response: the acknowledge time.
        attempts: requests made, without duplicates.
        error: Twilio's error code, such as 11200; None on success.
        said: messages in the response's TwiML; they are in `Simulator.sent` too.
        repeats: HTTP statuses of the requested duplicates.
        after: the `Outbound.number` of the last message sent before this one, for `wait_for`.
        requests: all requests made for it, those of the duplicates last.
    """

    sid: str
    from_: str
    to: str
    body: str
    media: tuple[Attachment, ...]
    status: int
    seconds: float
    attempts: int
    error: int | None
    said: tuple[Said, ...]
    repeats: tuple[int, ...]
    after: int
    requests: tuple[Request, ...] = field(default=(), repr=False)

    @property
    def ok(self) -> bool:
        """Whether the webhook accepted the message."""
        return self.error is None


@dataclass(frozen=True, slots=True)
class Outbound:
    """A message that Twilio has accepted for a person.

    Attributes:
        number: counts from 1, in the order of acceptance.
        from_: our number; with a Messaging Service, the one it chose.
        time: seconds since the epoch.
        statuses: its statuses so far, the current one last.
        error_code: Twilio's error code if it failed, or else empty.
        inline: True for TwiML in a webhook's response, False if sent through REST.
    """

    number: int
    sid: str
    to: str
    from_: str
    body: str
    media: tuple[str, ...]
    time: float
    statuses: tuple[str, ...]
    error_code: str = ""
    service: str = ""
    content_sid: str = ""
    content_variables: str = ""
    status_callback: str = field(default="", repr=False)
    inline: bool = False

    @property
    def status(self) -> str:
        """The current status."""
        return self.statuses[-1]


@dataclass(frozen=True, slots=True)
class StatusCallback:
    """A status callback that was answered, or whose delivery failed.

    Attributes:
        answered: the HTTP status; 0 without a response.
        error: Twilio's error code, such as 11200; None on success.
        requests: all requests made for it.
    """

    sid: str
    status: str
    error_code: str
    answered: int
    seconds: float
    attempts: int
    error: int | None
    requests: tuple[Request, ...] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class RestCall:
    """A request to the REST API to send a message.

    Attributes:
        path: of the URL.
        params: as received.
        sid: the SID of the created message; empty if it was refused.
        to: the recipient.
        time: when it was received, seconds since the epoch.
        status: the HTTP status.
        answer: the body of the response, as JSON.
        lost: the connection was broken before the response was read.
        seconds: until the response.
        user: the account or the API key that it was authenticated as.
    """

    path: str
    params: Params = field(repr=False)
    sid: str
    to: str
    time: float
    status: int
    answer: str = field(repr=False)
    lost: bool
    seconds: float
    user: str = ""


@dataclass(frozen=True, slots=True)
class TypingShown:
    """A person has been shown a typing indicator, and that their message was read.

    Attributes:
        sid: the SID of their message.
        time: seconds since the epoch.
    """

    sid: str
    time: float


Event = Texted | Delivered | Outbound | RestCall | StatusCallback | TypingShown
Listener = Callable[[Event], None]
"""Called on the event loop; must be quick and must not raise. `asyncio.Queue.put_nowait` is one."""


class EventLog:
    """Record events, and pass them to listeners."""

    def __init__(self, kept: int = KEPT) -> None:
        self._kept = kept
        self._outbound: dict[str, Outbound] = {}
        self._delivered: deque[Delivered] = deque(maxlen=kept)
        self._callbacks: deque[StatusCallback] = deque(maxlen=kept)
        self._listeners: list[Listener] = []
        self.last_number = 0

    @property
    def outbound(self) -> tuple[Outbound, ...]:
        """The messages sent to people, in the order they were accepted."""
        return tuple(self._outbound.values())

    @property
    def delivered(self) -> tuple[Delivered, ...]:
        """The people's messages, in the order they were answered."""
        return tuple(self._delivered)

    @property
    def callbacks(self) -> tuple[StatusCallback, ...]:
        """The status callbacks, in the order they were answered."""
        return tuple(self._callbacks)

    def find(self, sid: str) -> Outbound | None:
        """Return the message sent under a SID."""
        return self._outbound.get(sid)

    def record(self, event: Event) -> None:
        """Record an event and pass it on. An outbound message replaces its earlier state."""
        match event:
            case Outbound():
                self._outbound[event.sid] = event
                self.last_number = max(self.last_number, event.number)
                if len(self._outbound) > self._kept:
                    del self._outbound[next(iter(self._outbound))]
            case Delivered():
                self._delivered.append(event)
            case StatusCallback():
                self._callbacks.append(event)
            case Texted() | RestCall() | TypingShown():
                pass  # passed on, not recorded
        for listener in tuple(self._listeners):
            listener(event)

    async def wait_for(self, wanted: Callable[[Outbound], bool]) -> Outbound:
        """Return the first matching message, now or as soon as there is one, at any status."""
        events: asyncio.Queue[Event] = asyncio.Queue()
        with self.listening(events.put_nowait):
            for outbound in self.outbound:
                events.put_nowait(outbound)
            while True:
                event = await events.get()
                if isinstance(event, Outbound) and wanted(event):
                    return event

    @contextmanager
    def listening(self, listener: Listener) -> Iterator[None]:
        """Pass all events to a listener within the context."""
        self._listeners.append(listener)
        try:
            yield
        finally:
            self._listeners.remove(listener)
