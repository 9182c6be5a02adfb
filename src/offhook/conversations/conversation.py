"""The conversation of a running message, as its handler sees it."""

from typing import Final

from offhook.conversations.state import State, decoded
from offhook.stores.api import SavedState

# Seconds. A state is kept for some time after it was last used, to a day: a handler that only reads
# it need not write it again each time.
_USED_AGAIN: Final = 86_400.0


class Conversation:
    """What one person and one of your numbers have said to each other, and what is kept of it."""

    __slots__ = ("_saved", "_state")

    def __init__(self, saved: SavedState | None) -> None:
        self._saved = saved
        self._state: State | None = None

    @property
    def state(self) -> State:
        """What handlers have stored here: a mutable mapping of JSON values, 256 KiB at most.

        What the handler changes is saved when it has returned, together with the message's end. If
        the attempt fails, nothing is saved, and the next one finds the state as it was.
        """
        if self._state is None:
            self._state = decoded(b"" if self._saved is None else self._saved.value)
        return self._state


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
