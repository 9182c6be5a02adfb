"""All simulated conversations, built from the events of the simulator and of the app."""

import re
import time
from collections import deque
from collections.abc import Callable, Container
from dataclasses import replace
from typing import Final
from urllib.parse import parse_qs, urlsplit

from offhook.core.keys import Kind
from offhook.core.messages import InboundMessage
from offhook.core.send_reference import FIELD
from offhook.dev.phone.bubbles import Bubble, Conversation, FinishedRun, Incoming, Outgoing
from offhook.dev.phone.journal import Journal, PageChange
from offhook.dev.phone.sample_contacts import INITIAL_CONTACTS, name_of
from offhook.events import Answered, Handled, Sent, Sorted, Started
from offhook.events import Event as AppEvent
from offhook.twilio.simulator import (
    Delivered,
    Event,
    Outbound,
    RestCall,
    StatusCallback,
    Texted,
)
from offhook.twilio.simulator.addresses import number_of, opted_out_as

KEPT: Final = 2_000
"""Bubbles in all; the oldest are forgotten."""


class Conversations:
    """Keep the conversations, and record each change in the journal.

    The simulator's events carry SIDs, offhook's own events the ids of its store. The URL of a
    status callback, which holds the ledger's id of a send, links the two.

    Args:
        ours: the bot's number.
        changes: the journal.
        opted_out, unreachable: return the addresses that currently are.
    """

    def __init__(
        self,
        ours: str,
        changes: Journal,
        *,
        opted_out: Callable[[], Container[str]] = frozenset,
        unreachable: Callable[[], Container[str]] = frozenset,
    ) -> None:
        self._ours = ours
        self._changes = changes
        self._opted_out = opted_out
        self._unreachable = unreachable
        self._conversations: dict[str, Conversation] = {}  # without their bubbles
        self._members: dict[str, list[str]] = {}  # ids of their bubbles, in order
        self._bubbles: dict[str, Bubble] = {}
        self._in: dict[str, str] = {}  # from a bubble's id to that of its conversation
        self._by_sid: dict[str, str] = {}
        self._by_message: dict[int, str] = {}
        self._order: deque[str] = deque()
        for person in INITIAL_CONTACTS:
            self.open(person.address)

    @property
    def conversations(self) -> tuple[Conversation, ...]:
        """All conversations: by their latest bubble, newest first, then those without any."""
        return tuple(
            sorted(
                (self._whole(one) for one in self._conversations.values()),
                key=lambda one: -one.last.time if one.last else 0,
            )
        )

    def find(self, conversation: str) -> Conversation | None:
        """Return a conversation by its id."""
        found = self._conversations.get(conversation)
        return self._whole(found) if found else None

    def bubble(self, bubble: str) -> Bubble | None:
        """Return a bubble by its id."""
        return self._bubbles.get(bubble)

    def home(self, bubble: Bubble) -> Conversation:
        """Return the conversation of a bubble."""
        return self._whole(self._conversations[self._in[bubble.id]])

    def cause(self, bubble: Outgoing) -> Incoming | None:
        """Return the message that a reply answers."""
        return self.by_message(bubble.message_id or 0)

    def by_message(self, message_id: int) -> Incoming | None:
        """Return an incoming message by its id in the store, once a handler has begun."""
        found = self._bubbles.get(self._by_message.get(message_id, ""))
        return found if isinstance(found, Incoming) else None

    def effects(self, bubble: Incoming) -> tuple[Outgoing, ...]:
        """Return the replies to a message."""
        return tuple(
            one
            for one in self._bubbles_of(self._in[bubble.id])
            if isinstance(one, Outgoing) and one.message_id and one.message_id == bubble.message_id
        )

    def open(self, address: str, *, ours: str = "", name: str = "") -> Conversation:
        """Return the conversation with a contact, created if there is none."""
        ours = ours or self._ours
        address = number_of(address)  # who hides it is the same person
        key = _conversation_id(address, ours.rpartition(":")[2])
        known = self._conversations.get(key)
        if known is None or (name and known.name != name):
            known = known or Conversation(key, address, ours, name_of(address))
            self._conversations[key] = replace(known, name=name or known.name)
            self._members.setdefault(key, [])
            self._changes.note(PageChange("conversation", key))
        return self._whole(self._conversations[key])

    def touch(self, address: str) -> None:
        """Record that a contact's state has changed, such as an opt-out."""
        for key, conversation in self._conversations.items():
            if conversation.address == number_of(address):
                self._changes.note(PageChange("conversation", key))

    def hear_line(self, event: Event) -> None:
        """Process an event of the simulator."""
        match event:
            case Texted():
                self._write_down(event)
            case Delivered():
                self._update_incoming(event.sid, delivered=event)
            case Outbound():
                self._take_outbound(event)
            case RestCall():
                self._take_call(event)
            case StatusCallback():
                known = self._bubbles.get(self._by_sid.get(event.sid, ""))
                if isinstance(known, Outgoing):
                    self._put(replace(known, callbacks=(*known.callbacks, event)))

    def hear_app(self, event: AppEvent, at: float | None = None) -> None:
        """Process an event of offhook.

        Args:
            event: the event.
            at: when it was heard, seconds since the epoch; by default now.
        """
        at = time.time() if at is None else at
        match event:
            case Answered(kind=Kind.MESSAGE):
                known = self._bubbles.get(self._by_sid.get(event.sid, ""))
                if isinstance(known, Incoming):
                    self._put(replace(known, answers=(*known.answers, event)))
            case Sorted():
                self._changes.note(PageChange("progress"))
            case Started(kind=Kind.MESSAGE):
                known = self._bubbles.get(self._by_sid.get(event.sid, ""))
                if isinstance(known, Incoming):
                    self._by_message[event.message_id] = known.id
                    self._put(replace(known, message_id=event.message_id, running=at))
            case Handled(kind=Kind.MESSAGE):
                self._take_run(event, at)
            case Sent():
                known = self._bubbles.get(_send_key(event.send_id))
                if isinstance(known, Outgoing):
                    self._put(replace(known, sends=(*known.sends, event)))
            case _:
                pass

    def _write_down(self, texted: Texted) -> None:
        message = InboundMessage.parse(dict(texted.params))
        conversation = self.open(texted.from_, ours=texted.to, name=message.profile_name)
        self._by_sid[texted.sid] = texted.sid
        self._add(conversation, Incoming(texted.sid, texted))
        self.touch(texted.from_)  # it may have been a STOP

    def _update_incoming(self, sid: str, delivered: Delivered) -> None:
        known = self._bubbles.get(self._by_sid.get(sid, ""))
        if isinstance(known, Incoming):
            self._put(replace(known, delivered=delivered))

    def _take_run(self, run: Handled, at: float) -> None:
        key = self._by_sid.get(run.sid, "")
        known = self._bubbles.get(key)
        if not isinstance(known, Incoming):
            return
        self._by_message[run.message_id] = key
        began = at - run.took if known.running is None else known.running
        runs = (*known.runs, FinishedRun(began, run))
        self._put(replace(known, message_id=run.message_id, runs=runs, running=None))
        waiting = (one for one in self._bubbles_of(self._in[key]) if one.state == "acknowledged")
        for other in (*self.effects(known), *waiting):  # may have become blocked or unblocked
            self._changes.note(PageChange("bubble", self._in[other.id], other.id))

    def _take_outbound(self, outbound: Outbound) -> None:
        send_id = _send_id(outbound.status_callback)
        key = _send_key(send_id) if send_id is not None else outbound.sid
        self._by_sid[outbound.sid] = key
        known = self._bubbles.get(key)
        if isinstance(known, Outgoing):
            self._put(replace(known, outbound=outbound))
            return
        bubble = Outgoing(
            key,
            outbound.time,
            outbound.body,
            outbound.media,
            _template(outbound.content_sid, outbound.content_variables),
            send_id,
            outbound,
        )
        self._add(self.open(outbound.to, ours=outbound.from_), bubble)

    def _take_call(self, call: RestCall) -> None:
        params = dict(call.params)
        send_id = _send_id(params.get("StatusCallback", ""))
        key = _send_key(send_id) if send_id is not None else self._by_sid.get(call.sid, "")
        known = self._bubbles.get(key)
        if isinstance(known, Outgoing):
            self._put(replace(known, calls=(*known.calls, call)))
            return
        bubble = Outgoing(
            key or f"call-{len(self._order)}-{call.time}",
            call.time,
            params.get("Body", ""),
            tuple(value for name, value in call.params if name == "MediaUrl"),
            _template(params.get("ContentSid", ""), params.get("ContentVariables", "")),
            send_id,
            calls=(call,),
        )
        self._add(self.open(call.to, ours=params.get("From", "")), bubble)

    def _add(self, conversation: Conversation, bubble: Bubble) -> None:
        self._members[conversation.id].append(bubble.id)
        self._in[bubble.id] = conversation.id
        self._order.append(bubble.id)
        self._put(bubble)
        if len(self._order) > KEPT:
            self._forget(self._order.popleft())

    def _put(self, bubble: Bubble) -> None:
        self._bubbles[bubble.id] = bubble
        key = self._in[bubble.id]
        self._changes.note(PageChange("bubble", key, bubble.id))
        self._changes.note(PageChange("conversation", key))

    def _forget(self, key: str) -> None:
        self._members[self._in.pop(key)].remove(key)
        bubble = self._bubbles.pop(key)
        match bubble:
            case Incoming():
                self._by_sid.pop(bubble.texted.sid, None)
                self._by_message.pop(bubble.message_id, None)
            case Outgoing(outbound=Outbound(sid=sid)):
                self._by_sid.pop(sid, None)

    def _bubbles_of(self, conversation: str) -> tuple[Bubble, ...]:
        return tuple(self._bubbles[key] for key in self._members[conversation])

    def _whole(self, conversation: Conversation) -> Conversation:
        """Return a conversation with its current bubbles and state."""
        return replace(
            conversation,
            bubbles=self._bubbles_of(conversation.id),
            opted_out=opted_out_as(conversation.address) in self._opted_out(),
            unreachable=conversation.address in self._unreachable(),
        )


def _conversation_id(address: str, ours: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", f"{address}-{ours}").strip("-")


def _send_key(send_id: int) -> str:
    return f"send-{send_id}"


def _send_id(callback: str) -> int | None:
    """Return the ledger's id of a send from its callback URL."""
    found = parse_qs(urlsplit(callback).query).get(FIELD, [""])[0].partition(".")[0]
    return int(found) if found.isascii() and found.isdecimal() else None


def _template(sid: str, variables: str) -> str:
    return f"{sid} {variables}".strip()
