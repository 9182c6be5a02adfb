"""The phone's actions: send messages, open conversations, switch faults on and off."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from offhook.dev.phone.bubbles import Conversation, Incoming
from offhook.dev.phone.conversations import Conversations
from offhook.dev.phone.journal import Journal, PageChange
from offhook.dev.phone.requests import (
    ContactRequest,
    FaultRequest,
    ReachabilityRequest,
    RepeatRequest,
    TextRequest,
)
from offhook.dev.phone.sample_contacts import CROWD
from offhook.dev.phone.switches import FaultSwitch, trouble_for
from offhook.errors import ConfigurationError
from offhook.twilio.simulator import Simulator
from offhook.twilio.simulator.addresses import user_id_of


@dataclass(frozen=True, slots=True)
class ActiveFaults:
    """The faults that are simulated.

    Attributes:
        on: the switches that are on.
        unreachable: the addresses of contacts whose phone is off.
    """

    on: frozenset[FaultSwitch] = frozenset()
    unreachable: frozenset[str] = frozenset()


class PhoneActions:
    """Carry out the page's requests on the simulated Twilio.

    Args:
        simulator: sends the messages, and simulates the faults.
        changes: the journal of changes to the page.

    Attributes:
        book: the conversations.
        setting: the active faults.
    """

    def __init__(self, simulator: Simulator, changes: Journal) -> None:
        self._simulator = simulator
        self._changes = changes
        self._under_way: set[asyncio.Task[Any]] = set()
        self.setting = ActiveFaults()
        self.book = Conversations(
            simulator.number,
            changes,
            opted_out=lambda: simulator.opted_out,
            unreachable=lambda: self.setting.unreachable,
        )

    def text(self, order: TextRequest) -> None:
        """Start sending a message from a contact.

        Raises:
            ConfigurationError: there is no such conversation.
        """
        person = self._known(order.conversation)
        self._send(person, hides_number=order.hides_number, **order.content())

    def repeat(self, order: RepeatRequest) -> None:
        """Start sending the content of a message again.

        Raises:
            ConfigurationError: there is no such message of a contact's.
        """
        known = self.book.bubble(order.bubble)
        if not isinstance(known, Incoming):
            raise ConfigurationError("there is no such message")
        message = known.message
        person = self.book.home(known)
        self._send(
            person,
            hides_number=message.from_ != person.address,
            body=message.body,
            media=tuple(one.url for one in message.media),
            button=message.button,
            location=message.location,
        )

    def crowd(self) -> None:
        """Send a message from twenty contacts at once."""
        for number, person in enumerate(CROWD, start=1):
            conversation = self.book.open(person.address, name=person.name)
            self._send(conversation, body=f"Hello from caller {number}")

    def meet(self, order: ContactRequest) -> Conversation:
        """Return the conversation with a contact, opened if it is new."""
        return self.book.open(order.address, name=order.name.strip())

    def switch(self, order: FaultRequest) -> None:
        """Switch a fault on or off."""
        was = self.setting.on
        now = was | {order.switch} if order.on else was - {order.switch}
        self.make_trouble(replace(self.setting, on=now))

    def reach(self, order: ReachabilityRequest) -> None:
        """Switch a contact's phone off or on.

        Raises:
            ConfigurationError: there is no such conversation.
        """
        address = self._known(order.conversation).address
        was = self.setting.unreachable
        now = was - {address} if order.reachable else was | {address}
        self.make_trouble(replace(self.setting, unreachable=now))
        self.book.touch(address)

    def make_trouble(self, setting: ActiveFaults) -> None:
        """Apply the active faults to the simulator."""
        self.setting = setting
        self._simulator.trouble = trouble_for(setting.on, setting.unreachable)
        self._changes.note(PageChange("trouble"))

    async def close(self) -> None:
        """Cancel messages that are being sent."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _known(self, conversation: str) -> Conversation:
        found = self.book.find(conversation)
        if found is None:
            raise ConfigurationError("there is no such conversation")
        return found

    def _send(
        self, conversation: Conversation, *, hides_number: bool = False, **content: Any
    ) -> None:
        hides_number = hides_number and conversation.channel == "whatsapp"
        sending = self._simulator.text(
            from_=user_id_of(conversation.address) if hides_number else conversation.number,
            to=conversation.ours.rpartition(":")[2],
            channel="whatsapp" if conversation.channel == "whatsapp" else "sms",
            profile_name=conversation.name,
            **content,
        )
        task = asyncio.create_task(sending)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
