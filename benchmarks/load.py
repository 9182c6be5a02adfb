"""A small load generator: signed webhooks made beforehand, over keep-alive connections.

Closed loop finds a server's maximum; open loop sends at a constant rate and measures each
request from the moment it was due, so that a server that stalls can't hide it. `offhook bench`
will replace it.
"""

import asyncio
import os
import random
import secrets
import socket
import statistics
import tempfile
import time
from collections import deque
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from offhook.core.signature import sign

ACCOUNT = "AC" + "0" * 32
TOKEN = "0123456789abcdef0123456789abcdef"  # made up
PUBLIC_URL = "http://bench.invalid"
PATH = "/twilio/messages"


def webhooks(count: int, conversations: int = 1000) -> list[bytes]:
    """Return HTTP requests as Twilio sends them for inbound SMS, each with a SID of its own."""
    run = secrets.token_hex(8)
    made = []
    for n in range(count):
        sid = f"SM{run}{n:016x}"
        fields = [
            ("ToCountry", "US"), ("ToState", "CA"), ("SmsMessageSid", sid), ("NumMedia", "0"),
            ("ToCity", ""), ("FromZip", "94105"), ("SmsSid", sid), ("FromState", "CA"),
            ("SmsStatus", "received"), ("FromCity", "SAN FRANCISCO"),
            ("Body", f"Hello, is order {n} on its way? Thanks!"), ("FromCountry", "US"),
            ("To", "+15005550006"), ("ToZip", ""), ("NumSegments", "1"), ("MessageSid", sid),
            ("AccountSid", ACCOUNT), ("From", f"+1555{n % conversations:07d}"),
            ("ApiVersion", "2010-04-01"),
        ]  # fmt: skip
        body = urlencode(fields).encode()
        signature = sign(url=PUBLIC_URL + PATH, params=fields, auth_token=TOKEN)
        head = (
            f"POST {PATH} HTTP/1.1\r\nHost: bench.invalid\r\nUser-Agent: TwilioProxy/1.1\r\n"
            f"Accept: */*\r\nX-Twilio-Signature: {signature}\r\n"
            f"I-Twilio-Idempotency-Token: {run}-{n}\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\n"
            f"Content-Length: {len(body)}\r\n\r\n"
        )
        made.append(head.encode() + body)
    return made


@dataclass(frozen=True)
class Result:
    """What a run measured. Latencies in seconds, sorted."""

    seconds: float
    statuses: dict[int, int]
    latencies: Sequence[float]

    @property
    def rate(self) -> float:
        return len(self.latencies) / self.seconds

    def percentile(self, p: float) -> float:
        return self.latencies[min(len(self.latencies) - 1, int(len(self.latencies) * p / 100))]


class _Connection(asyncio.Protocol):
    """Sends one request at a time, and reads its answer's status and length."""

    def __init__(self) -> None:
        self.answered: asyncio.Future[int] | None = None
        self._buffer = b""
        self._transport: Any = None  # uvloop's transports are no asyncio.WriteTransport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def close(self) -> None:
        self.answered = None
        self._transport.close()

    def request(self, data: bytes) -> "asyncio.Future[int]":
        self.answered = asyncio.get_running_loop().create_future()
        self._transport.write(data)
        return self.answered

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        at = head.lower().find(b"content-length:")
        length = int(head[at + 15 :].split(b"\r", 1)[0]) if at >= 0 else 0
        if len(body) >= length and self.answered is not None:
            self._buffer = b""
            self.answered.set_result(int(head[9:12]))

    def connection_lost(self, exc: Exception | None) -> None:
        if self.answered is not None and not self.answered.done():
            self.answered.set_exception(exc or ConnectionError("closed by the server"))


@asynccontextmanager
async def _connected(port: int, count: int) -> AsyncIterator[list[_Connection]]:
    loop = asyncio.get_running_loop()
    pairs = [await loop.create_connection(_Connection, "127.0.0.1", port) for _ in range(count)]
    connections = [protocol for _, protocol in pairs]
    try:
        yield connections
    finally:
        for connection in connections:
            connection.close()


async def closed_loop(
    port: int, requests: Iterator[bytes], seconds: float, connections: int = 64
) -> Result:
    """Each connection sends its next request when the last is answered."""
    statuses: dict[int, int] = {}
    latencies: list[float] = []
    began = time.perf_counter()

    async def drive(connection: _Connection) -> None:
        for data in requests:
            sent = time.perf_counter()
            if sent - began > seconds:
                return
            status = await connection.request(data)
            statuses[status] = statuses.get(status, 0) + 1
            latencies.append(time.perf_counter() - sent)

    async with _connected(port, connections) as opened:
        await asyncio.gather(*(drive(connection) for connection in opened))
    return Result(time.perf_counter() - began, statuses, sorted(latencies))


async def open_loop(
    port: int, requests: Iterator[bytes], rate: float, seconds: float, connections: int = 64
) -> Result:
    """Requests are due at a constant rate, whether the server keeps up or not."""
    statuses: dict[int, int] = {}
    latencies: list[float] = []
    free: deque[_Connection] = deque()
    waiting: deque[tuple[float, bytes]] = deque()
    tasks: set[asyncio.Task[None]] = set()

    async def drive(connection: _Connection, due: float, data: bytes) -> None:
        while True:
            status = await connection.request(data)
            statuses[status] = statuses.get(status, 0) + 1
            latencies.append(time.perf_counter() - due)
            if not waiting:
                free.append(connection)
                return
            due, data = waiting.popleft()

    async with _connected(port, connections) as opened:
        free.extend(opened)
        began = time.perf_counter()
        for n in range(int(rate * seconds)):
            due = began + n / rate
            while (wait := due - time.perf_counter()) > 0:
                await asyncio.sleep(wait if wait > 0.0015 else 0)
            data = next(requests)
            if free:
                task = asyncio.create_task(drive(free.popleft(), due, data))
                tasks.add(task)
                task.add_done_callback(tasks.discard)
            else:
                waiting.append((due, data))
                await asyncio.sleep(0)
        while tasks:
            await asyncio.gather(*tuple(tasks))
    return Result(time.perf_counter() - began, statuses, sorted(latencies))


def fsync_times(folder: Path, count: int = 200) -> tuple[float, float]:
    """Return p50 and p99 of writing and syncing 4 KiB, in seconds: what the disk allows."""
    times = []
    with tempfile.NamedTemporaryFile(dir=folder) as file:
        for _ in range(count):
            file.write(random.randbytes(4096))
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            times.append(time.perf_counter() - began)
    return statistics.median(times), sorted(times)[int(count * 0.99)]


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def until_up(port: int, patience: float = 20.0) -> None:
    """Wait until a server accepts connections."""
    end = time.monotonic() + patience
    while True:
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", port)
        except OSError:
            if time.monotonic() > end:
                raise
            await asyncio.sleep(0.05)
        else:
            writer.close()
            return


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:7.2f} ms"
