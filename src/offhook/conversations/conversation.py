"""The conversation of a running message, as its handler sees it."""

from typing import Final, cast

from offhook.conversations.history import Ask, Turns
from offhook.conversations.state import State, decoded
from offhook.core.calls import caller
from offhook.errors import NotRunning
from offhook.stores.api import SavedState

# Seconds. A state is kept for some time after it was last used, to a day: a handler that only reads
# it need not write it again each time.
_USED_AGAIN: Final = 86_400.0


class Conversation:
    """What one person and one of your numbers have said to each other, and what is kept of it."""

    __slots__ = ("_ask", "_saved", "_state")

    def __init__(self, saved: SavedState | None) -> None:
        self._saved = saved
        self._state: State | None = None
        self._ask: Ask | None = None

    @property
    def state(self) -> State:
        """What handlers have stored here: a mutable mapping of JSON values, 256 KiB at most.

        What the handler changes is saved when it has returned, together with the message's end. If
        the attempt fails, nothing is saved, and the next one finds the state as it was.
        """
        if self._state is None:
            self._state = decoded(b"" if self._saved is None else self._saved.value)
        return self._state

    def history(self, limit: int = 20) -> Turns:
        """Return what was said before this message, by either side, the oldest first.

        Await it; in a `def` handler, call it without `await`. Left out are this message and what
        was sent in reply to it, messages that wait behind it, what the person has not received
        (refused, not delivered, cancelled, or scheduled for later), and what has neither a text nor
        media: locations, content templates, and messages whose texts have been deleted.

        Args:
            limit: the number of turns, 500 at most.

        Raises:
            NotRunning: called outside a handler.
            StoreUnavailable: it can't be read.
        """
        if self._ask is None:
            raise NotRunning("message.conversation.history works while a handler is running")
        call = self._ask(max(0, limit), caller())
        # A call stands for its result where it is awaited; a list can't be stood for.
        return Turns(call.result) if call.is_done else cast("Turns", call)


def let_ask(conversation: Conversation, ask: Ask) -> None:
    """Have the history of a conversation be read, while its handler runs."""
    conversation._ask = ask  # noqa: SLF001 - not for handlers


def to_save(conversation: Conversation) -> bytes | None:
    """Return the state if it is to be saved, empty to be deleted; None if it may stay.

    Raises:
        InvalidState: it can't be saved.
    """
    state, saved = conversation._state, conversation._saved  # noqa: SLF001 - not for handlers
    if state is None:
        return None
    value = state.encoded()
    if saved is None:
        return value or None
    return None if value == saved.value and saved.age < _USED_AGAIN else value
