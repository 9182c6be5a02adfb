"""A reply may be sent again only if its request never left: every way a connection can fail."""

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from offhook import http_session
from offhook.core.lifecycle import SendTrigger
from offhook.errors import ConfigurationError, TwilioError
from offhook.twilio.client import TwilioClient
from offhook.twilio.sender import TwilioSender
from testing.certificate import certificate
from testing.ports import free_port
from testing.twilio.helpers import Handler, answering, http, raw_server, read_request
from tests.twilio.test_sender import claim, send_once, send_to, settings

SID = "SM" + "0" * 32
ACCEPTED = f'{{"sid": "{SID}", "status": "queued"}}'.encode()
KEPT = b"HTTP/1.1 201 Created\r\nContent-Length: %d\r\n\r\n%s" % (len(ACCEPTED), ACCEPTED)
TWILIO = "https://api.example.com"
PASSWORD = "sesame"


@pytest.fixture(autouse=True)
def no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)


async def test_a_name_that_nobody_has_is_never_connected() -> None:
    outcome = await send_once("http://nobody.invalid", claim())
    assert outcome.trigger is SendTrigger.POSTPONE
    assert outcome.error.startswith("Twilio was not reached: ")


async def _speaks_no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read(1)
    writer.write(http(400, b"no TLS here"))
    await writer.drain()


async def test_a_port_without_tls_is_never_connected() -> None:
    async with raw_server(_speaks_no_tls) as url:
        outcome = await send_once(url.replace("http:", "https:"), claim())
    assert outcome.trigger is SendTrigger.POSTPONE
    assert "ClientConnectorSSLError" in outcome.error


async def _resets(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    raw: socket.socket = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


async def test_a_connection_that_is_reset_after_the_request_may_have_sent_it() -> None:
    outcome = await send_to(_resets)
    assert outcome.trigger is SendTrigger.LOSE
    assert "Connection reset by peer" in outcome.error


async def _garbles(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await read_request(reader)
    writer.write(b"220 mail.example.com ESMTP\r\n")
    await writer.drain()


async def test_an_answer_that_is_not_http_may_follow_a_message() -> None:
    assert (await send_to(_garbles)).trigger is SendTrigger.LOSE


# A connection that is kept


def breaking(after: int, heads: list[bytes], answer: bytes = KEPT) -> Handler:
    """Return a handler that reads every request, answers the first few, then closes."""

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(heads) <= after:
            heads.append(await read_request(reader))
            if len(heads) <= after:
                writer.write(answer)

    return handler


async def test_a_request_is_not_repeated_when_its_kept_connection_breaks() -> None:
    heads: list[bytes] = []
    async with raw_server(breaking(1, heads)) as url:
        sender = TwilioSender(settings(url))
        triggers = [(await sender.send(claim())).trigger for _ in range(2)]
        await sender.close()
    assert triggers == [SendTrigger.ACCEPT, SendTrigger.LOSE]
    assert len(heads) == 2


async def test_nor_is_one_that_only_reads() -> None:
    heads: list[bytes] = []
    async with raw_server(breaking(1, heads)) as url, TwilioClient(settings(url)) as rest:
        await rest.get("api", "/anything.json")
        with pytest.raises(TwilioError, match="ServerDisconnectedError"):
            await rest.get("api", "/anything.json")
    assert len(heads) == 2


async def test_what_a_server_says_before_it_is_asked_is_no_answer() -> None:
    """A proxy may say why it closes an idle connection; a send is not accepted by that."""
    served, unasked, taken = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(KEPT)
        await served.wait()
        writer.write(KEPT.replace(SID.encode(), b"SM" + b"f" * 32))
        await writer.drain()
        unasked.set()
        assert await reader.read() == b"", "a request was sent after all"
        taken.set()

    async with raw_server(handler) as url:
        sender = TwilioSender(settings(url))
        assert (await sender.send(claim())).sid == SID
        served.set()
        await unasked.wait()
        await readable(sender)
        outcome = await sender.send(claim())
        assert (outcome.trigger, outcome.sid) == (SendTrigger.POSTPONE, "")
        await taken.wait()
        await sender.close()


async def readable(sender: TwilioSender) -> None:
    """Wait until what has come to the only kept connection is read."""
    connector = sender._session.connector
    assert connector is not None
    ((kept, _),) = next(iter(connector._conns.values()))
    while not kept.should_close:  # noqa: ASYNC110 - nothing tells
        await asyncio.sleep(0)


async def test_no_cookie_is_kept() -> None:
    heads: list[bytes] = []
    answer = KEPT.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a=b; Path=/\r\n\r\n", 1)
    async with raw_server(breaking(2, heads, answer)) as url:
        sender = TwilioSender(settings(url.replace("127.0.0.1", "localhost")))
        for _ in range(2):
            assert (await sender.send(claim())).trigger is SendTrigger.ACCEPT
        await sender.close()
    assert not any(b"\r\ncookie:" in head.lower() for head in heads)


# Proxies


async def test_a_proxy_that_refuses_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    heads: list[bytes] = []
    async with raw_server(answering(http(407, b"who are you?"), heads)) as url:
        monkeypatch.setenv("HTTPS_PROXY", url.replace("//", f"//ada:{PASSWORD}@"))
        outcome = await send_once(TWILIO, claim())
    assert outcome.trigger is SendTrigger.POSTPONE
    assert "ClientHttpProxyError 407" in outcome.error
    assert PASSWORD not in outcome.error
    (head,) = heads
    assert head.startswith(b"CONNECT api.example.com:443 ")
    assert b"\r\nProxy-Authorization: Basic " in head
    assert b"\r\nAuthorization:" not in head, "Twilio's credentials are not the proxy's business"


@pytest.mark.parametrize("answer", [b"", b"garbage\r\n\r\n"])
async def test_a_proxy_that_breaks_off_before_there_is_a_tunnel_has_sent_nothing(
    monkeypatch: pytest.MonkeyPatch, answer: bytes
) -> None:
    heads: list[bytes] = []
    async with raw_server(answering(answer, heads)) as url:
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert (await send_once(TWILIO, claim())).trigger is SendTrigger.POSTPONE
    assert heads[0].startswith(b"CONNECT api.example.com:443 ")


async def test_a_proxy_that_is_away_has_sent_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ALL_PROXY", f"http://ada:{PASSWORD}@127.0.0.1:{free_port()}")
    outcome = await send_once(TWILIO, claim())
    assert outcome.trigger is SendTrigger.POSTPONE
    assert "ClientProxyConnectionError" in outcome.error
    assert PASSWORD not in outcome.error


async def test_a_proxy_is_not_asked_for_a_host_without_one(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    heads: list[bytes] = []
    async with raw_server(answering(http(201, ACCEPTED), heads)) as url:
        monkeypatch.setenv("HTTP_PROXY", url)
        assert (await send_once("http://api.invalid", claim())).trigger is SendTrigger.ACCEPT
        monkeypatch.setenv("NO_PROXY", "example.com,.invalid")
        assert (await send_once("http://api.invalid", claim())).trigger is SendTrigger.POSTPONE
    (head,) = heads
    assert head.startswith(b"POST http://api.invalid/2010-04-01/")


async def test_a_proxy_that_speaks_no_http_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTPS_PROXY", "socks5://127.0.0.1:1080")
    with pytest.raises(ConfigurationError, match="is a socks5 proxy"):
        await send_once(TWILIO, claim())


@asynccontextmanager
async def tunnel(
    pem: Path, answer: Callable[[asyncio.StreamWriter], None]
) -> AsyncIterator[tuple[str, list[bytes]]]:
    """Yield the URL of a proxy to a server with TLS, and the heads of the requests to that."""
    heads: list[bytes] = []
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem)

    async def handler(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_request(reader)
        writer.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        await writer.start_tls(context)
        heads.append(await read_request(reader))
        answer(writer)
        await writer.drain()

    async with raw_server(handler) as url:
        yield url, heads


def accepts(writer: asyncio.StreamWriter) -> None:
    writer.write(http(201, ACCEPTED))


async def test_a_server_is_believed_only_with_its_certificate(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, "api.example.com")
    async with tunnel(pem, accepts) as (url, heads):
        monkeypatch.setenv("HTTPS_PROXY", url)
        unknown = await send_once(TWILIO, claim())
        assert unknown.trigger is SendTrigger.POSTPONE
        assert "ClientConnectorCertificateError" in unknown.error
        assert heads == [], "nothing is sent to a stranger"

        trusting = ssl.create_default_context(cafile=pem)
        monkeypatch.setattr(http_session, "_authorities", lambda: trusting)
        other = await send_once("https://other.example.com", claim())
        assert "Hostname mismatch" in other.error
        assert heads == []

        assert (await send_once(TWILIO, claim())).sid == SID
        assert len(heads) == 1


async def test_the_answer_may_be_lost_within_a_tunnel_too(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    pem = certificate(tmp_path, "api.example.com")
    trusting = ssl.create_default_context(cafile=pem)
    monkeypatch.setattr(http_session, "_authorities", lambda: trusting)
    async with tunnel(pem, lambda _: None) as (url, heads):
        monkeypatch.setenv("HTTPS_PROXY", url)
        assert (await send_once(TWILIO, claim())).trigger is SendTrigger.LOSE
        assert len(heads) == 1


# Certificate authorities


def test_authorities_are_looked_for_where_systems_have_them(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A Python that was built elsewhere may look in a folder that is empty here."""
    paths = ssl.get_default_verify_paths()._replace(cafile="", capath=str(tmp_path))
    monkeypatch.setattr(ssl, "get_default_verify_paths", lambda: paths)
    monkeypatch.setattr(http_session, "_FILES", (tmp_path / "absent", certificate(tmp_path)))
    found = http_session._authorities.__wrapped__()
    assert isinstance(found, ssl.SSLContext)
    assert found.verify_mode is ssl.CERT_REQUIRED
    assert len(found.get_ca_certs()) == 1
    (tmp_path / "0123abcd.0").touch()
    assert http_session._authorities.__wrapped__() is True
