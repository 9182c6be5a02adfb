"""The files of a running message, with the means to fetch them."""

from collections.abc import Generator
from dataclasses import dataclass, field
from functools import partial
from os import PathLike
from pathlib import Path
from typing import Any, Final, Protocol, cast

from offhook.core.calls import Call, caller
from offhook.core.messages import Attachment
from offhook.errors import NotRunning
from offhook.worker.handler_calls import HandlerCalls

MAX_FETCHED: Final = 20_000_000
"""Bytes. WhatsApp accepts files of 16 MB, and MMS of 5 MB:
https://www.twilio.com/docs/whatsapp/guidance-whatsapp-media-messages"""

MAX_SAVED: Final = 100_000_000
"""Bytes; more than any channel accepts."""


class Fetched(bytes):
    """The bytes of a file. They may be awaited, and need not be where they are there already."""

    __slots__ = ()

    def __await__(self) -> Generator[Any, Any, bytes]:
        """Return the bytes."""
        return self
        yield  # which makes it a generator


class Files(Protocol):
    """Keeps the files of messages: Twilio. Each method raises a `MediaError`."""

    async def fetch(self, url: str, account_sid: str, max_bytes: int) -> bytes:
        """Return a file."""
        ...

    async def save(self, url: str, account_sid: str, path: Path, max_bytes: int) -> None:
        """Write a file to the disk: all of it, or nothing."""
        ...

    async def delete(self, url: str, account_sid: str) -> None:
        """Delete a file. One that is gone is no error."""
        ...


@dataclass(frozen=True, slots=True)
class RunFiles:
    """The files of one run's message.

    Attributes:
        files: of the running event loop.
        account_sid: of the message.
        calls: of the run.
    """

    files: Files
    account_sid: str
    calls: HandlerCalls

    def fetch(self, url: str, max_bytes: int, where: str) -> Call[bytes]:
        """Return a call that fetches a file."""
        work = partial(self.files.fetch, url, self.account_sid, max_bytes)
        return self.calls.begin(work, "media.fetch", where)

    def save(self, url: str, path: Path, max_bytes: int, where: str) -> Call[None]:
        """Return a call that saves a file."""
        work = partial(self.files.save, url, self.account_sid, path, max_bytes)
        return self.calls.begin(work, "media.save", where)

    def delete(self, url: str, where: str) -> Call[None]:
        """Return a call that deletes a file."""
        work = partial(self.files.delete, url, self.account_sid)
        return self.calls.begin(work, "media.delete", where)


@dataclass(frozen=True, slots=True)
class Media(Attachment):
    """One attachment of an inbound message, as a handler receives it.

    In an `async def` handler, await what its methods return; in a `def` handler, leave `await` out:
    the thread waits. A file may be missing for a second or two after its message has come, so one
    that is not found is asked for again, for 3.5 s.

    The credentials in the settings are sent to Twilio only, for files of the message's own account,
    and not to the host that Twilio redirects to.
    """

    _files: RunFiles | None = field(default=None, repr=False, compare=False)

    def fetch(self, max_bytes: int = MAX_FETCHED) -> Fetched:
        """Return the content of the file.

        Args:
            max_bytes: the most that it may have.

        Raises:
            MediaDenied: Twilio refused the credentials.
            MediaGone: Twilio does not have the file.
            MediaNotAllowed: the URL is not one of the message's account at Twilio.
            MediaTooLarge: it has more bytes.
            MediaUnavailable: there was no whole answer; another attempt may succeed.
            NotRunning: called outside a handler.
        """
        call = self._running("fetch").fetch(self.url, max_bytes, caller())
        # A call stands for its result where it is awaited; bytes can't be stood for.
        return Fetched(call.result) if call.is_done else cast("Fetched", call)

    def save(self, path: str | PathLike[str], max_bytes: int = MAX_SAVED) -> Call[None]:
        """Write the file to the disk, without keeping it in memory: all of it, or nothing.

        When it returns, the file is on the disk, in place of an earlier one of that name, and
        readable by its user only.

        Args:
            path: its name. The folder must exist.
            max_bytes: the most that it may have.

        Raises:
            MediaError: as for `fetch`; nothing was saved.
            NotRunning: called outside a handler.
            OSError: it can't be written.
        """
        return self._running("save").save(self.url, Path(path), max_bytes, caller())

    def delete(self) -> Call[None]:
        """Delete the file at Twilio, which keeps it until then. One that is gone is no error.

        Raises:
            MediaDenied: Twilio refused the credentials.
            MediaNotAllowed: the URL is not one of the message's account at Twilio.
            MediaUnavailable: there was no whole answer; another attempt may succeed.
            NotRunning: called outside a handler.
        """
        return self._running("delete").delete(self.url, caller())

    def _running(self, method: str) -> RunFiles:
        if self._files is None:
            raise NotRunning(f"media.{method} works while its message is being handled")
        return self._files
