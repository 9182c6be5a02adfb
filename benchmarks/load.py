"""What the scripts here share of the generator behind `offhook bench`."""

import asyncio
import itertools
from collections.abc import Iterator

from offhook.bench.load import Load
from offhook.bench.requests import Mix, RequestSource, SignedRequest
from offhook.bench.results import Results
from offhook.bench.target import Target
from offhook.core.keys import Kind
from offhook.core.requests import Request

ACCOUNT = "AC" + "0" * 32
TOKEN = "0123456789abcdef0123456789abcdef"  # made up
PUBLIC_URL = "http://bench.invalid"
PATH = "/twilio/messages"


def target(port: int) -> Target:
    """Return a server of this machine that believes to be called `PUBLIC_URL`."""
    return Target.parse(f"http://127.0.0.1:{port}", public_url=PUBLIC_URL)


def supply(
    prepared: int = 0, *, conversations: int = 1000, mix: Mix | None = None
) -> RequestSource:
    """Return an endless supply of signed webhooks, so many of them made now."""
    made = RequestSource(
        target(1), account_sid=ACCOUNT, auth_token=TOKEN, conversations=conversations, mix=mix
    )
    made.prepare(prepared)
    return made


def webhooks(count: int) -> list[bytes]:
    """Return HTTP requests as Twilio sends them for inbound SMS, each with a SID of its own."""
    return [shot.data for shot in itertools.islice(supply(), count)]


async def open_loop(
    port: int, requests: Iterator[SignedRequest], rate: float, seconds: float, connections: int = 64
) -> Results:
    """Send requests that are due at a constant rate, whether the server keeps up or not."""
    tally = Results()
    await Load(target(port), requests, tally, connections=connections).open(rate, seconds)
    return tally


async def until_up(port: int, patience: float = 60.0) -> None:
    """Wait until a server answers: a supervisor listens long before its processes do.

    Raises:
        OSError: it does not.
    """
    async with asyncio.timeout(patience):
        while not await _answers(port):
            await asyncio.sleep(0.05)


async def _answers(port: int) -> bool:
    try:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
    except ConnectionRefusedError:
        return False
    try:
        writer.write(b"GET / HTTP/1.1\r\nHost: bench.invalid\r\nConnection: close\r\n\r\n")
        return bool(await reader.read(1))  # whatever it says
    except ConnectionResetError:
        return False
    finally:
        writer.close()


def milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:7.2f} ms"


def parsed(data: bytes) -> Request:
    """Return a request as the webhook hands it on."""
    head, _, body = data.partition(b"\r\n\r\n")
    lines = (line.partition(b": ") for line in head.split(b"\r\n")[1:])
    headers = {name.lower(): value.decode() for name, _, value in lines}
    return Request(
        kind=Kind.MESSAGE,
        method="POST",
        base=PUBLIC_URL,
        path=PATH,
        query=b"",
        content_type=headers[b"content-type"],
        signature=headers[b"x-twilio-signature"],
        body=body,
        started=0.0,
    )
