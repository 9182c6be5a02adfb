"""Carries out what the phone's owner wants: texts, people and trouble."""

import asyncio
from dataclasses import dataclass, replace
from typing import Any

from offhook.dev.phone.bubbles import Conversation
from offhook.dev.phone.conversations import Conversations
from offhook.dev.phone.journal import Journal, PageChange
from offhook.dev.phone.requests import (
    ContactRequest,
    FaultRequest,
    ReachabilityRequest,
    TextRequest,
)
from offhook.dev.phone.sample_contacts import CROWD
from offhook.dev.phone.switches import FaultSwitch, trouble_for
from offhook.errors import ConfigurationError
from offhook.twilio.simulator import Simulator


@dataclass(frozen=True, slots=True)
class ActiveFaults:
    """The trouble that is wanted.

    Attributes:
        on: the switches that are on.
        unreachable: the addresses of people whose phone is off.
    """

    on: frozenset[FaultSwitch] = frozenset()
    unreachable: frozenset[str] = frozenset()


class PhoneActions:
    """Between the page and the simulated Twilio.

    Args:
        simulator: carries the messages, and makes the trouble.
        changes: is told what else has changed on the page.

    Attributes:
        book: the conversations.
        setting: the trouble that is wanted.
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
        """Have somebody send a message. It is on its way when this returns.

        Raises:
            ConfigurationError: nobody is known under the order's name.
        """
        self._send(self._known(order.conversation), **order.content())

    def crowd(self) -> None:
        """Have twenty people write at once."""
        for number, person in enumerate(CROWD, start=1):
            conversation = self.book.open(person.address, name=person.name)
            self._send(conversation, body=f"Hello from caller {number}")

    def meet(self, order: ContactRequest) -> Conversation:
        """Return the conversation with somebody, who may be new."""
        return self.book.open(order.address, name=order.name.strip())

    def switch(self, order: FaultRequest) -> None:
        """Turn a kind of trouble on or off."""
        was = self.setting.on
        now = was | {order.switch} if order.on else was - {order.switch}
        self.make_trouble(replace(self.setting, on=now))

    def reach(self, order: ReachabilityRequest) -> None:
        """Turn somebody's phone off, or on again.

        Raises:
            ConfigurationError: nobody is known under the order's name.
        """
        address = self._known(order.conversation).address
        was = self.setting.unreachable
        now = was - {address} if order.reachable else was | {address}
        self.make_trouble(replace(self.setting, unreachable=now))
        self.book.touch(address)

    def make_trouble(self, setting: ActiveFaults) -> None:
        """Have the simulator behave as wanted."""
        self.setting = setting
        self._simulator.trouble = trouble_for(setting.on, setting.unreachable)
        self._changes.note(PageChange("trouble"))

    async def close(self) -> None:
        """Give up what is on its way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    def _known(self, conversation: str) -> Conversation:
        found = self.book.find(conversation)
        if found is None:
            raise ConfigurationError("there is no such conversation")
        return found

    def _send(self, conversation: Conversation, **content: Any) -> None:
        sending = self._simulator.text(
            from_=conversation.number,
            to=conversation.ours.rpartition(":")[2],
            channel="whatsapp" if conversation.channel == "whatsapp" else "sms",
            profile_name=conversation.name,
            **content,
        )
        task = asyncio.create_task(sending)
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
