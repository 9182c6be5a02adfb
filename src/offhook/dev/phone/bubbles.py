"""A conversation as a messenger shows it: message bubbles, each with its whole history."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from itertools import takewhile
from typing import Any, Final

from offhook.core.addresses import channel_of
from offhook.core.lifecycle import SendTrigger, Trigger
from offhook.core.messages import Attachment, InboundMessage
from offhook.errors import RetryLater
from offhook.events import Answered, Handled, Sent
from offhook.observe.redaction import last_line
from offhook.twilio.error_codes import meaning
from offhook.twilio.simulator import Delivered, Outbound, RestCall, StatusCallback, Texted
from offhook.twilio.simulator.payloads import media_of

_TOO_MANY: Final = 429
_ERROR: Final = 400

_ENDS: Final[Mapping[Trigger, str]] = {
    Trigger.COMPLETE: "handled",
    Trigger.DISCARD: "discarded",
    Trigger.GIVE_UP: "dead",
    Trigger.RETRY: "waiting",
    Trigger.PARK: "parked",
    Trigger.INTERRUPT: "interrupted",
}


# The states in which a message has its place in its conversation.
_LIVE: Final = frozenset({"acknowledged", "running", "waiting", "interrupted"})


@dataclass(frozen=True, slots=True)
class FinishedRun:
    """A run of the handler that has ended.

    Attributes:
        began: seconds since the epoch.
    """

    began: float
    handled: Handled

    @property
    def due(self) -> float | None:
        """When the message is attempted again; None if this was its last attempt."""
        again = self.handled.trigger is Trigger.RETRY
        return self.began + self.handled.took + self.handled.delay if again else None

    @property
    def is_put_off(self) -> bool:
        """Whether the handler itself asked for another attempt."""
        return self.handled.error == RetryLater.__name__ and self.due is not None

    @property
    def error_line(self) -> str:
        """What went wrong, in a line."""
        return last_line(self.handled.traceback or self.handled.error)


@dataclass(frozen=True)
class Incoming:
    """A message from a contact.

    Attributes:
        answers: offhook's event for each delivery of the webhook.
        runs: the finished runs of the handler.
        message_id: its number in the store, once a handler has begun; 0 before.
        running: since when the handler runs, in seconds since the epoch; None while it does not.
    """

    id: str
    texted: Texted
    delivered: Delivered | None = None
    answers: tuple[Answered, ...] = ()
    runs: tuple[FinishedRun, ...] = ()
    message_id: int = 0
    running: float | None = None
    mine: bool = field(default=True, init=False)  # shown on the side of the phone's owner

    @cached_property
    def message(self) -> InboundMessage:
        """The message, parsed as for a handler."""
        return InboundMessage.parse(dict(self.texted.params))

    @property
    def time(self) -> float:
        """When it was written, seconds since the epoch."""
        return self.texted.time

    @property
    def body(self) -> str:
        """The text."""
        return self.message.body

    @property
    def media(self) -> tuple[Attachment, ...]:
        """The attachments."""
        return self.message.media

    @property
    def deliveries(self) -> int:
        """How often the webhook was delivered."""
        return 1 + len(self.delivered.repeats) if self.delivered else 1

    @property
    def error(self) -> str:
        """Twilio's error code if the webhook did not accept it."""
        return str(self.delivered.error or "") if self.delivered else ""

    @property
    def error_text(self) -> str:
        """What the code means, or why its handler failed."""
        if self.error:
            return _WEBHOOK_ERRORS.get(self.error, "")
        failed = self.state == "dead" or (self.state == "waiting" and not self.is_put_off)
        return self.runs[-1].error_line if failed else ""

    @property
    def state(self) -> str:
        """`sending`, `refused`, `acknowledged`, `running`, or how its last run ended."""
        if self.error:
            return "refused"
        if self.running is not None:
            return "running"
        if self.runs:
            return _ENDS.get(self.runs[-1].handled.trigger, "acknowledged")
        return "acknowledged" if self.delivered else "sending"

    @property
    def is_put_off(self) -> bool:
        """Whether it waits because its handler asked for another attempt."""
        return self.state == "waiting" and self.runs[-1].is_put_off

    @property
    def began(self) -> float:
        """When its webhook was first requested, seconds since the epoch."""
        requests = self.delivered.requests if self.delivered else ()
        return requests[0].time if requests else self.time

    @property
    def acknowledged(self) -> float | None:
        """When Twilio had the response, seconds since the epoch."""
        if self.delivered is None or not self.delivered.requests:
            return None
        return self.delivered.requests[self.delivered.attempts - 1].time + self.delivered.seconds

    @property
    def first_answer(self) -> Answered | None:
        """The event of its first acknowledgement, with the duration of each phase."""
        return self.answers[0] if self.answers else None


@dataclass(frozen=True)
class Outgoing:
    """A message to a contact: a reply of the bot, or a notice of offhook.

    Attributes:
        send_id: its number in the ledger; None for TwiML in a webhook's response.
        outbound: the message, once Twilio has accepted it.
        calls: the REST calls to send it, as Twilio saw them.
        sends: the same attempts, as the ledger recorded them.
    """

    id: str
    time: float
    body: str
    media_urls: tuple[str, ...] = ()
    template: str = ""
    send_id: int | None = None
    outbound: Outbound | None = None
    calls: tuple[RestCall, ...] = ()
    sends: tuple[Sent, ...] = ()
    callbacks: tuple[StatusCallback, ...] = ()
    mine: bool = field(default=False, init=False)

    @property
    def began(self) -> float:
        """When its first REST call began, seconds since the epoch."""
        return min(self.time, *(call.time for call in self.calls)) if self.calls else self.time

    @property
    def media(self) -> tuple[Attachment, ...]:
        """The attachments, their types guessed."""
        return tuple(media_of(url) for url in self.media_urls)

    @property
    def message_id(self) -> int | None:
        """The stored message that it replies to."""
        return self.sends[-1].message_id if self.sends else None

    @property
    def identity(self) -> str:
        """Its name in the ledger: `return:0`, `notice:slow`, ..."""
        return self.sends[-1].identity if self.sends else ""

    @property
    def is_notice(self) -> bool:
        """Whether it is one of offhook's own notices, not a reply of the bot."""
        return self.identity.startswith("notice:")

    @property
    def fallback_reason(self) -> str:
        """Why it is sent instead of a text; empty if it is not."""
        return self.sends[-1].fell_back if self.sends else ""

    @property
    def is_unread(self) -> bool:
        """Whether Twilio's response was lost, so that only a status callback can confirm it."""
        return bool(self.sends) and self.sends[-1].trigger is SendTrigger.LOSE

    @property
    def refused(self) -> Mapping[str, Any]:
        """Twilio's response to the last attempt, if it accepted none."""
        if self.outbound is None and self.calls and self.calls[-1].status >= _ERROR:
            answer: dict[str, Any] = json.loads(self.calls[-1].answer)
            return answer
        return {}

    @property
    def state(self) -> str:
        """Twilio's status, `held` while Twilio answers 429, or `refused`."""
        if self.outbound is not None:
            return self.outbound.status
        held = bool(self.calls) and self.calls[-1].status == _TOO_MANY
        return "held" if held else "refused"

    @property
    def error(self) -> str:
        """Twilio's error code; empty when there is none."""
        if self.outbound is not None:
            return self.outbound.error_code
        return str(self.refused.get("code", ""))

    @property
    def error_text(self) -> str:
        """What the code means, and what to do."""
        return meaning(self.error, str(self.refused.get("message", "")))


Bubble = Incoming | Outgoing


@dataclass(frozen=True)
class Conversation:
    """A contact and the messages.

    Attributes:
        id: safe in a URL.
        address: the contact's address, with the channel's prefix.
        ours: the number written to.
        name: the contact's name.
        opted_out: Twilio sends nothing to the contact.
        unreachable: the contact's phone is off.
    """

    id: str
    address: str
    ours: str
    name: str
    bubbles: tuple[Bubble, ...] = ()
    opted_out: bool = False
    unreachable: bool = False

    @property
    def channel(self) -> str:
        """`sms`, `whatsapp`, ..."""
        return channel_of(self.address)

    @property
    def number(self) -> str:
        """The address without its channel."""
        return self.address.rpartition(":")[2]

    @property
    def initials(self) -> str:
        """The initials, shown in place of a picture."""
        first, *more = self.name.split() or ("?",)
        last = more[-1] if more else ""
        return last if last.isdigit() else (first[0] + last[:1]).upper()

    def ahead_of(self, bubble: Bubble) -> int:
        """Return how many messages have to be handled before this one's turn comes."""
        if bubble.state != "acknowledged":
            return 0
        earlier = takewhile(lambda one: one.id != bubble.id, self.bubbles)
        return sum(one.mine and one.state in _LIVE for one in earlier)

    @property
    def last(self) -> Bubble | None:
        """The latest bubble."""
        return self.bubbles[-1] if self.bubbles else None


# https://www.twilio.com/docs/api/errors/11200 and the pages beside it
_WEBHOOK_ERRORS: Final[Mapping[str, str]] = {
    "11200": "The webhook did not answer in time, or answered with an error.",
    "11205": "Twilio could not connect to the webhook.",
    "11206": "The webhook's response is not HTTP.",
    "11215": "The webhook redirects too many times.",
    "11750": "The webhook's response is too long.",
    "12100": "The webhook's response is not XML.",
    "12102": "The webhook's response is not TwiML: its root must be Response.",
    "12300": "The webhook's response has a content type that Twilio does not read.",
    "14109": "The webhook's response has too many messages.",
}
