"""The message that a handler receives: an inbound message, with the means to reply."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from offhook.conversations.conversation import Conversation
from offhook.core.calls import Call, caller
from offhook.core.messages import InboundMessage, Reply, Send
from offhook.errors import NotRunning
from offhook.worker.media import Media


class Typing(Protocol):
    """Show the person that an answer is being written."""

    def show(self, where: str) -> Call[None]:
        """Show it now. The call has ended; `where` is the line that calls."""
        ...


class Replier(Protocol):
    """Write the replies of a running message."""

    def reply(self, reply: Reply, key: str | None, where: str) -> Call[Send]:
        """Write a reply to the ledger, when awaited; at once in a thread without an event loop.

        `where` is the line that calls, for the error if it is never awaited.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class Message(InboundMessage):
    """An inbound SMS, MMS or WhatsApp message, as a handler receives it."""

    media: tuple[Media, ...]
    _attachment: ClassVar[type[Media]] = Media
    _replier: Replier | None = field(default=None, repr=False, compare=False)
    _typing: Typing | None = field(default=None, repr=False, compare=False)
    _conversation: Conversation | None = field(default=None, repr=False, compare=False)

    @property
    def conversation(self) -> Conversation:
        """What this person and this number have said to each other, and what is kept of it.

        Raises:
            NotRunning: used outside a handler.
        """
        if self._conversation is None:
            raise NotRunning("message.conversation is there while the message is being handled")
        return self._conversation

    def reply(
        self, body: str | Reply, *, media: Sequence[str] = (), key: str | None = None
    ) -> Call[Send]:
        """Send a message to the person now, without waiting for the handler to return.

        Await it; in a `def` handler, call it without `await`, which blocks the thread. When it
        returns, the reply is on disk, and will be sent even if this process crashes. A handler
        that returns without awaiting a reply has failed (`NotAwaited`).

        Args:
            body: the text, or a `Reply`.
            media: URLs that Twilio can fetch.
            key: identifies this reply if the order of replies may differ between attempts.

        Returns:
            The entry in the ledger, with `repeated` set if an earlier attempt wrote it. For a long
            text that is sent as several messages, the last of them.

        Raises:
            InvalidReply: there is nothing to send, or Twilio would refuse it.
            LeaseLost: another run has claimed the message.
            NotRunning: called outside a handler.
            StoreUnavailable: the reply cannot be written.
        """
        if self._replier is None:
            raise NotRunning("message.reply works while the message is being handled")
        reply = body if isinstance(body, Reply) else Reply(body, media=media)
        return self._replier.reply(reply, key, caller())

    def typing(self) -> Call[None]:
        """Show the person WhatsApp's typing indicator, which also marks their message as read.

        It disappears with the next reply, and after 25 seconds. On other channels, and while it is
        shown already, nothing happens. It does not wait for Twilio and never fails: a failure is
        logged (`typing`). `await` may be left out.

        Raises:
            NotRunning: called outside a handler.
        """
        if self._typing is None:
            raise NotRunning("message.typing works while the message is being handled")
        return self._typing.show(caller())


def place(message: Message, conversation: Conversation) -> None:
    """Put a message into its conversation, before its handler is looked for."""
    object.__setattr__(message, "_conversation", conversation)


def attach(message: Message, replier: Replier, typing: Typing, media: tuple[Media, ...]) -> None:
    """Have a message's methods, and those of its media, work before its handler gets it."""
    # A copy would take as long as parsing it.
    for name, value in (("_replier", replier), ("_typing", typing), ("media", media)):
        object.__setattr__(message, name, value)
