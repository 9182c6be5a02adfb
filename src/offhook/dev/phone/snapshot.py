"""The phone's events, saved to a file across a reload of the bot."""

import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, Final

from pydantic import ConfigDict, TypeAdapter

from offhook.core.keys import Kind
from offhook.dev.phone.actions import ActiveFaults
from offhook.dev.phone.attachments import StoredFile
from offhook.events import Answered, Handled, Sent, Started
from offhook.events import Event as AppEvent
from offhook.twilio.simulator import Delivered, Outbound, RestCall, StatusCallback, Texted
from offhook.twilio.simulator import Event as LineEvent

SnapshotEntry = AppEvent | LineEvent | ActiveFaults | StoredFile

KEPT: Final = 10_000
"""Events; a message with its reply makes about ten."""

_BASE64: Final = ConfigDict(ser_json_bytes="base64", val_json_bytes="base64")
_KINDS: Final[dict[str, TypeAdapter[Any]]] = {
    # In a tuple: a dataclass as such takes no configuration.
    kind.__name__: TypeAdapter(tuple[kind], config=_BASE64)  # type: ignore[valid-type]  # a variable
    for kind in (
        Answered,
        Delivered,
        Handled,
        Outbound,
        RestCall,
        Sent,
        Started,
        StoredFile,
        ActiveFaults,
        StatusCallback,
        Texted,
    )
}


class Snapshot:
    """The latest events from which the page is built."""

    def __init__(self) -> None:
        self._events: deque[tuple[SnapshotEntry, float]] = deque(maxlen=KEPT)

    def keep(self, event: AppEvent | LineEvent, at: float | None = None) -> None:
        """Keep an event, and when it was heard (by default now), if it is about a message."""
        told = Answered | Handled | Started
        about_status = isinstance(event, told) and event.kind is not Kind.MESSAGE
        if type(event).__name__ in _KINDS and not about_status:
            self._events.append((event, time.time() if at is None else at))

    def write(self, file: Path, setting: ActiveFaults, attached: Sequence[StoredFile] = ()) -> None:
        """Write all events to a file that only its user can read."""
        descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with open(descriptor, "wb") as opened:  # noqa: PTH123 - a descriptor, not a path
            for event, at in (*self._events, *((one, time.time()) for one in (*attached, setting))):
                name = type(event).__name__
                opened.write(f"{name} {at} ".encode() + _KINDS[name].dump_json((event,)) + b"\n")


def read(file: Path) -> Iterator[tuple[SnapshotEntry, float]]:
    """Yield the events of a file, up to the first damaged line, each with when it was heard.

    Without a file there are none.
    """
    try:
        lines = file.read_bytes().splitlines()
    except FileNotFoundError:
        return
    for line in lines:
        name, _, rest = line.partition(b" ")
        at, _, event = rest.partition(b" ")
        try:
            yield _KINDS[name.decode()].validate_json(event)[0], float(at)
        except (KeyError, ValueError):  # pydantic's are ValueErrors
            return
