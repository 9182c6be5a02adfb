"""A real `offhook ingress`, met from outside."""

import asyncio
import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from offhook.core.signature import sign
from tests.cli.support import Home, Process
from tests.web.helpers import (
    ACCOUNT,
    FORM,
    MESSAGE,
    PUBLIC,
    TOKEN,
    Reply,
    encoded,
    read_reply,
    request,
)

PATIENCE = 20.0  # seconds
PIECE = 64 * 1024
GROWTH = 32  # MB that the answering process may grow by under any of the floods

HEALTH = b"GET /healthz HTTP/1.1\r\nHost: a\r\n"
POST = (
    b"POST /twilio/messages HTTP/1.1\r\nHost: a\r\nX-Twilio-Signature: a\r\n"
    b"Content-Type: application/x-www-form-urlencoded\r\n"
)
CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"
HUGE = b"Content-Length: 1000000000000\r\n\r\n"
UPGRADE = b"Connection: upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"

FLOODS = {
    "trailers": (POST + CHUNKED + b"2\r\nhi\r\n0\r\n", b"a:b\r\n"),
    "a trailer": (POST + CHUNKED + b"0\r\na:", b"b"),
    "trailers that nobody reads": (HEALTH + CHUNKED + b"0\r\n", b"a:b\r\n"),
    "a chunk's extension": (POST + CHUNKED + b"2;", b"a"),
    "a chunk's size": (POST + CHUNKED, b"0"),
    "crumbs": (POST + CHUNKED, b"1\r\nx\r\n"),
    "headers": (POST, b"a:b\r\n"),
    "a header": (POST + b"a:", b"b"),
    "a folded header": (POST + b"a:b\r\n", b" b\r\n"),
    "a request line": (b"GET /", b"a"),
    "a method": (b"", b"G"),
    "blank lines": (b"", b"\r\n"),
    "requests ahead": (b"", HEALTH + b"\r\n"),
    "a body of a GET": (HEALTH + HUGE, b"a"),
    "a body of a form": (POST + HUGE, b"a"),
    "a body that was asked for": (POST + b"Expect: 100-continue\r\n" + HUGE, b"a"),
    "a body nowhere": (b"POST / HTTP/1.1\r\nHost: a\r\n" + CHUNKED, b"1\r\nx\r\n"),
    "after an upgrade": (HEALTH + UPGRADE + b"\r\n", b"\x81\x05hello"),
    "a body with an upgrade": (POST + UPGRADE + HUGE, b"a"),
    "a tunnel": (b"CONNECT a:80 HTTP/1.1\r\nHost: a\r\n\r\n", b"\x16\x03\x01"),
    "HTTP/2": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"\0"),
    "HTTP/0.9": (b"GET /healthz\r\n", b"GET /healthz\r\n"),
}


class Ingress:
    """A running one.

    Attributes:
        port: where it listens.
        pid: of the process that answers.
    """

    def __init__(self, process: Process) -> None:
        process.wait_for("listening on")
        (port,) = re.findall(r"listening on http://127\.0\.0\.1:(\d+)", process.output)
        (self.pid,) = process.children("roles ingress")
        self.port = int(port)
        self.process = process

    async def exchange(self, *pieces: bytes) -> Reply:
        """Send a request piece by piece, and read its answer."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0.02)
            return await read_reply(reader)
        finally:
            writer.close()

    async def flood(self, begin: bytes, more: bytes) -> None:
        """Send without an end, until the server has closed the connection."""
        _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            with suppress(ConnectionError):
                writer.write(begin)
                while not writer.is_closing():
                    writer.write(more * (PIECE // len(more)))
                    await writer.drain()
        finally:
            writer.transport.abort()

    def memory(self, what: str) -> int:
        """Return a figure of the answering process, in MB."""
        status = Path(f"/proc/{self.pid}/status").read_text()
        (kilobytes,) = re.findall(rf"{what}:\s+(\d+) kB", status)
        return int(kilobytes) // 1024

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingress]:
    path = tmp_path_factory.mktemp("ingress")
    home = Home(
        path,
        TWILIO_ACCOUNT_SID=ACCOUNT,
        TWILIO_AUTH_TOKEN=TOKEN,
        OFFHOOK_PUBLIC_URL=PUBLIC,
        OFFHOOK_MOUNT_PATH="/hooks",
        OFFHOOK_STORE=f"sqlite:///{path}/offhook.db",
    )
    with home.start("ingress", "bot:app", "--port", "0") as process:
        yield Ingress(process)
        assert "Traceback" not in process.output
        assert "internal-error" not in process.output


def test_the_ready_line_has_the_whole_url_that_twilio_is_given(ingress: Ingress) -> None:
    assert f" for {PUBLIC}/hooks/twilio/messages" in ingress.process.output


def test_a_route_is_spelled_in_one_place() -> None:
    code = Path(__file__).parents[2] / "src/offhook"
    literal = re.compile(r"""["/}]twilio/(messages|status)["'.]""")
    spelled = [
        str(file.relative_to(code))
        for file in code.rglob("*.py")
        for _ in literal.findall(file.read_text())
    ]
    assert spelled == ["core/urls.py"] * 2


@pytest.mark.parametrize(("begin", "more"), FLOODS.values(), ids=FLOODS)
def test_a_request_without_an_end_takes_neither_memory_nor_time_from_others(
    ingress: Ingress, begin: bytes, more: bytes
) -> None:
    async def main() -> None:
        async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
            floods = [group.create_task(ingress.flood(begin, more)) for _ in range(2)]
            while not all(flood.done() for flood in floods):
                began = time.monotonic()
                assert (await ingress.exchange(HEALTH + b"\r\n")).status == 200
                assert time.monotonic() - began < 2

    ingress.forget_peak()
    before = ingress.memory("VmRSS")
    asyncio.run(main())
    assert ingress.memory("VmHWM") - before < GROWTH


@pytest.mark.parametrize("split", [False, True])
def test_a_signature_in_a_trailer_is_not_believed(ingress: Ingress, split: bool) -> None:
    url = f"{PUBLIC}/twilio/messages"
    signed = f"X-Twilio-Signature: {sign(url=url, params=MESSAGE, auth_token=TOKEN)}\r\n"
    headers = {"Content-Type": FORM, "Transfer-Encoding": "chunked"}
    head = request("POST", "/twilio/messages", b"", headers).replace(b"Content-Length: 0\r\n", b"")
    body = encoded(MESSAGE)
    pieces = (head, b"%x\r\n%b\r\n0\r\n" % (len(body), body), signed.encode() + b"\r\n")
    reply = asyncio.run(ingress.exchange(*(pieces if split else (b"".join(pieces),))))
    assert (reply.status, reply.error) == (403, "missing-signature")
