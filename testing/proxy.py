"""A network that can be cut: a TCP proxy between a client and a server."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Self
from urllib.parse import urlsplit

_CHUNK = 65_536


class Proxy:
    """Passes bytes on in both directions, as long as the network is whole.

    Args:
        url: the server's.
    """

    def __init__(self, url: str) -> None:
        self._url = urlsplit(url)
        self._whole = asyncio.Event()
        self._whole.set()
        self._refuses = False
        self.refused = 0
        self._marker: bytes | None = None
        self._writers: set[asyncio.StreamWriter] = set()
        self._port = 0
        self.swallowed = asyncio.Event()

    @property
    def url(self) -> str:
        """Where clients connect."""
        login = self._url.netloc.rpartition("@")[0]
        return self._url._replace(netloc=f"{login}@127.0.0.1:{self._port}").geturl()

    @asynccontextmanager
    async def serve(self) -> AsyncIterator[Self]:
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._port = server.sockets[0].getsockname()[1]
        try:
            yield self
        finally:
            server.close()
            self.mend()
            self._reset()

    def partition(self) -> None:
        """Let every byte vanish, without a word to anybody."""
        self._whole.clear()

    def cut(self) -> None:
        """Reset all connections, and refuse new ones."""
        self._refuses = True
        self._reset()

    def mend(self) -> None:
        """Make the network whole again. Bytes that were held up arrive after all."""
        self._refuses = False
        self._marker = None
        self._whole.set()

    def lose_answer_to(self, marker: bytes) -> None:
        """Pass on what holds `marker`, swallow the server's answer to it, and reset.

        `swallowed` is set when the server had answered: what it was asked to do, it has done.
        """
        self.swallowed.clear()
        self._marker = marker

    def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._refuses:
            self.refused += 1
            writer.transport.abort()
            return
        self._writers.add(writer)
        try:
            await self._pass_both_ways(reader, writer)
        except OSError:
            writer.transport.abort()
        finally:
            self._writers.discard(writer)

    async def _pass_both_ways(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        answers, asks = await asyncio.open_connection(self._url.hostname, self._url.port)
        self._writers.add(asks)
        marked = asyncio.Event()
        await asyncio.gather(
            self._pass_on(reader, asks, marked), self._answer(answers, writer, marked)
        )
        self._writers.discard(asks)

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._whole.wait()
                if self._marker is not None and self._marker in data:
                    marked.set()
                writer.write(data)
                await writer.drain()
        writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, marked: asyncio.Event
    ) -> None:
        with suppress(OSError):
            while data := await reader.read(_CHUNK):
                await self._whole.wait()
                if marked.is_set():
                    self.swallowed.set()
                    writer.transport.abort()
                    return
                writer.write(data)
                await writer.drain()
        writer.close()
