"""Wake the workers of one database file, in all processes."""

import asyncio
import contextlib
import hashlib
import os
import secrets
import socket
import tempfile
from pathlib import Path
from typing import Final

from offhook.errors import StoreUnavailable

_MAX_SOCKET_PATH: Final = 100  # sun_path holds 108 bytes on Linux, 104 on macOS


class Wake:
    """Unix datagram sockets in a folder beside the database: one for each process that listens.

    A datagram carries nothing but the fact; losing one costs a second, for listeners look for
    work every second all the same.
    """

    def __init__(self, database: Path) -> None:
        self._folder = _folder(database)
        self._events: list[asyncio.Event] = []
        self._receiver: socket.socket | None = None
        self._address = ""
        self._loop: asyncio.AbstractEventLoop | None = None
        self._sender: socket.socket | None = None
        self._listed = -1
        self._others: tuple[str, ...] = ()

    def listen(self) -> asyncio.Event:
        """Return an event that is set when any process has stored something.

        Raises:
            StoreUnavailable: there is no room for a socket, or its directory is gone.
        """
        if self._receiver is None:
            try:
                self._bind()
            except OSError as error:
                text = f"cannot listen in {self._folder}: {error.strerror or error}"
                raise StoreUnavailable(text) from error
        event = asyncio.Event()
        self._events.append(event)
        return event

    def wake_here(self) -> None:
        """Wake the listeners of this process. On the event loop."""
        for event in self._events:
            event.set()

    def wake_others(self) -> None:
        """Wake the listeners of all other processes. On any thread. Raises nothing."""
        with contextlib.suppress(OSError):  # no descriptor is free: they look by themselves
            self._wake_others()

    def _wake_others(self) -> None:
        for address in self._addresses():
            if self._sender is None:
                self._sender = _socket()
            try:
                self._sender.sendto(b"1", address)
            except (ConnectionRefusedError, FileNotFoundError):
                # Its process was killed, and did not remove the name.
                with contextlib.suppress(OSError):
                    os.unlink(address)  # noqa: PTH108 - addresses are strings here
            except OSError:
                pass  # full: it has been woken already

    def close(self) -> None:
        """Stop listening."""
        if self._receiver is not None:
            if self._loop is not None:
                self._loop.remove_reader(self._receiver)
            self._receiver.close()
            self._receiver = None
            Path(self._address).unlink(missing_ok=True)
        if self._sender is not None:
            self._sender.close()
            self._sender = None

    def _bind(self) -> None:
        self._folder.mkdir(mode=0o700, exist_ok=True)
        receiver = _socket()
        self._address = str(self._folder / f"{os.getpid()}-{secrets.token_hex(3)}")
        try:
            receiver.bind(self._address)
        except OSError:
            receiver.close()
            raise
        self._receiver = receiver
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(receiver, self._received)

    def _received(self) -> None:
        with contextlib.suppress(OSError):
            while self._receiver is not None:
                self._receiver.recv(16)  # until it would block: many wake-ups are one
        self.wake_here()

    def _addresses(self) -> tuple[str, ...]:
        try:
            listed = os.stat(self._folder).st_mtime_ns  # noqa: PTH116 - once a commit
            if listed != self._listed:
                self._others = tuple(
                    entry.path for entry in os.scandir(self._folder) if entry.path != self._address
                )
                self._listed = listed
        except FileNotFoundError:
            return ()
        return self._others


def _socket() -> socket.socket:
    made = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    made.setblocking(False)
    return made


def _folder(database: Path) -> Path:
    beside = database.with_name(database.name + "-wake")
    if len(str(beside)) + 20 < _MAX_SOCKET_PATH:
        return beside
    digest = hashlib.blake2b(bytes(beside), digest_size=8).hexdigest()
    return Path(tempfile.gettempdir()) / f"offhook-{os.getuid()}-{digest}"
