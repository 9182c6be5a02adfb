"""A real `offhook ingress`, met from outside, and plain uvicorn beside it."""

import asyncio
import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from offhook.core.signature import sign
from testing.commands import Home, Process, until
from testing.ports import free_port
from testing.webhooks import (
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

PATIENCE = 60.0  # seconds
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


class Served:
    """A bot that is served.

    Attributes:
        port: where it listens.
    """

    def __init__(self, port: int) -> None:
        self.port = port

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


class Ingress(Served):
    """A running `offhook ingress`.

    Attributes:
        pid: of the process that answers.
    """

    def __init__(self, process: Process) -> None:
        process.wait_for("listening on")
        (port,) = re.findall(r"listening on http://127\.0\.0\.1:(\d+)", process.output)
        super().__init__(int(port))
        (self.pid,) = process.children("process.main ingress")
        self.process = process

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

    def cpu_seconds(self) -> float:
        """Return the CPU time of the answering process: a busy machine does not add to it."""
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def forget_peak(self) -> None:
        Path(f"/proc/{self.pid}/clear_refs").write_text("5")


def home_in(path: Path) -> Home:
    return Home(
        path,
        TWILIO_ACCOUNT_SID=ACCOUNT,
        TWILIO_AUTH_TOKEN=TOKEN,
        OFFHOOK_PUBLIC_URL=PUBLIC,
        OFFHOOK_MOUNT_PATH="/hooks",
        OFFHOOK_STORE=f"sqlite:///{path}/offhook.db",
    )


@pytest.fixture(scope="module")
def ingress(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ingress]:
    home = home_in(tmp_path_factory.mktemp("ingress"))
    with home.start("ingress", "bot:app", "--port", "0") as process:
        yield Ingress(process)
        assert "Traceback" not in process.output
        assert "internal-error" not in process.output


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """Run `uvicorn bot:app`."""
    home, port = home_in(tmp_path_factory.mktemp("plain")), free_port()
    command = ["uvicorn", "bot:app", "--port", str(port), "--log-level", "critical"]
    log = home.directory / "uvicorn.log"
    with (
        log.open("wb") as output,
        subprocess.Popen(
            [sys.executable, "-m", *command],
            cwd=home.directory,
            env=home.surroundings(),
            stdout=output,
            stderr=output,
        ) as process,
    ):
        try:
            until(lambda: listens(port), log.read_text)
            yield Served(port)
        finally:
            process.terminate()
    assert "Traceback" not in log.read_text()


def listens(port: int) -> bool:
    with suppress(OSError):
        socket.create_connection(("127.0.0.1", port), 1).close()
        return True
    return False


@pytest.fixture(params=["ingress", "plain"])
def server(request: pytest.FixtureRequest) -> Served:
    """Serve the bot by either."""
    served: Served = request.getfixturevalue(request.param)
    return served


def get(target: str = "/healthz", version: str = " HTTP/1.1", *headers: str) -> bytes:
    return "\r\n".join([f"GET {target}{version}", *headers, "", ""]).encode()


def signed(target: str = "/twilio/messages", method: str = "POST") -> bytes:
    headers = {
        "Content-Type": FORM,
        "X-Twilio-Signature": sign(url=PUBLIC + target, params=MESSAGE, auth_token=TOKEN),
    }
    return request(method, target, encoded(MESSAGE), headers)


SAME: dict[str, tuple[bytes, int, str]] = {
    "as it should be": (signed(), 200, ""),
    "by another name": (signed().replace(b"Host: 127.0.0.1", b"Host: a.example"), 200, ""),
    "escapes of what needs none": (signed("/twilio/%6Dessages"), 200, ""),
    "two hosts": (get("/healthz", " HTTP/1.1", "Host: a", "Host: b"), 400, "bad-host"),
    "a host twice": (signed().replace(b"Host:", b"Host: 127.0.0.1\r\nHost:"), 400, "bad-host"),
    "no host": (get(), 400, "bad-host"),
    "an empty host": (get("/healthz", " HTTP/1.1", "Host:"), 400, "bad-host"),
    "a host that is none": (get("/healthz", " HTTP/1.1", "Host: a b"), 400, "bad-host"),
    "a host with a path": (get("/healthz", " HTTP/1.1", "Host: a/b"), 400, "bad-host"),
    "HTTP/1.0 without a host": (get("/healthz", " HTTP/1.0"), 200, ""),
    "HTTP/1.0 with two": (get("/healthz", " HTTP/1.0", "Host: a", "Host: b"), 400, "bad-host"),
    "HTTP/0.9": (get("/healthz", ""), 505, "unsupported-version"),
    "HTTP/0.9 in words": (get("/healthz", " HTTP/0.9", "Host: a"), 505, "unsupported-version"),
    "HTTP/2.0": (get("/healthz", " HTTP/2.0", "Host: a"), 505, "unsupported-version"),
    "HTTP/2.0, signed": (
        signed().replace(b"HTTP/1.1", b"HTTP/2.0"), 505, "unsupported-version"
    ),
    "an escaped slash": (signed("/twilio%2fmessages"), 404, "not-found"),
    "an escaped slash, in capitals": (signed("/twilio%2Fmessages"), 404, "not-found"),
    "an escaped slash before it": (signed("/%2ftwilio/messages"), 404, "not-found"),
    "an escaped slash elsewhere": (get("/%2fhealthz", " HTTP/1.1", "Host: a"), 404, "not-found"),
    "a slash too many": (signed("//twilio/messages"), 404, "not-found"),
    "a slash at the end": (signed("/twilio/messages/"), 404, "not-found"),
    "another case": (signed("/Twilio/Messages"), 404, "not-found"),
    "another path": (signed("/sms"), 404, "not-found"),
    "another method": (signed(method="PUT"), 405, "method-not-allowed"),
    "no signature": (request("POST", "/twilio/messages", b"", {}), 403, "missing-signature"),
    "too much": (
        request("POST", "/twilio/messages", b"", {"Content-Length": "99999"}),
        413,
        "body-too-large",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("data", "status", "error"), SAME.values(), ids=SAME)
def test_any_server_gives_the_same_answer(
    server: Served, data: bytes, status: int, error: str
) -> None:
    reply = asyncio.run(server.exchange(data))
    assert (reply.status, reply.error) == (status, error)


@pytest.mark.parametrize("target", ["/sms", "//twilio/messages", "/twilio%2fmessages"])
def test_what_twilio_sends_astray_is_told(ingress: Ingress, target: str) -> None:
    called = re.compile(
        rf"Twilio called '{PUBLIC}{target}'.* {PUBLIC}/hooks/twilio/messages for messages"
    )
    times = len(called.findall(ingress.process.output))
    # One a second is looked into, and others have been refused a moment ago.
    until(
        lambda: (
            asyncio.run(ingress.exchange(signed(target))).status == 404
            and len(called.findall(ingress.process.output)) > times
        ),
        ingress.process.explain,
    )


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
async def test_a_request_without_an_end_takes_neither_memory_nor_time_from_others(
    ingress: Ingress, begin: bytes, more: bytes
) -> None:
    ingress.forget_peak()
    before = ingress.memory("VmRSS")
    async with asyncio.timeout(PATIENCE), asyncio.TaskGroup() as group:
        floods = [group.create_task(ingress.flood(begin, more)) for _ in range(2)]
        while not all(flood.done() for flood in floods):
            began = ingress.cpu_seconds()
            assert (await ingress.exchange(HEALTH + b"\r\n")).status == 200
            assert ingress.cpu_seconds() - began < 2
    assert ingress.memory("VmHWM") - before < GROWTH


@pytest.mark.parametrize("split", [False, True])
def test_a_signature_in_a_trailer_is_not_believed(ingress: Ingress, split: bool) -> None:
    url = f"{PUBLIC}/twilio/messages"
    trailer = f"X-Twilio-Signature: {sign(url=url, params=MESSAGE, auth_token=TOKEN)}\r\n\r\n"
    headers = {"Content-Type": FORM, "Transfer-Encoding": "chunked"}
    head = request("POST", "/twilio/messages", b"", headers).replace(b"Content-Length: 0\r\n", b"")
    body = encoded(MESSAGE)
    pieces = (head, b"%x\r\n%b\r\n0\r\n" % (len(body), body), trailer.encode())
    reply = asyncio.run(ingress.exchange(*(pieces if split else (b"".join(pieces),))))
    assert (reply.status, reply.error) == (403, "missing-signature")
