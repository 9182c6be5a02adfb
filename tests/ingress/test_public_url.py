import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Message, Scope

from offhook import Offhook
from offhook.errors import SettingsError
from offhook.ingress.public_url import PublicUrl, raw_path
from offhook.web.router import Router, route_path
from testing.webhooks import line, settings

FORWARDED = {
    b"host": b"10.0.0.9:8000",
    b"x-forwarded-proto": b"https",
    b"x-forwarded-host": b"bot.example.com",
}


def scope(client: tuple[str, int] | None = ("10.0.0.5", 4711), **given: Any) -> dict[str, Any]:
    return {"scheme": "http", "client": client, "path": "/twilio/messages", **given}


def base(headers: dict[bytes, bytes], client: tuple[str, int] | None, *trusted: str) -> str:
    url = PublicUrl(settings(public_url="", trusted_proxies=trusted))
    return url.base(scope(client), headers)


def test_a_public_url_stands_whatever_the_request_says() -> None:
    url = PublicUrl(settings(public_url="https://a.example/bots/", trusted_proxies="10.0.0.5"))
    assert url.base(scope(), FORWARDED) == "https://a.example/bots"


def test_without_one_it_is_the_requests_own() -> None:
    assert base({b"host": b"localhost:8000"}, ("127.0.0.1", 1)) == "http://localhost:8000"


@pytest.mark.parametrize(
    ("client", "trusted"),
    [
        ("10.0.0.5", "10.0.0.5"),
        ("10.0.0.5", "192.168.0.0/16, 10.0.0.0/8"),
        ("::ffff:10.0.0.5", "10.0.0.0/8"),
        ("fd00::5", "fd00::/8"),
    ],
)
def test_a_trusted_proxy_is_believed(client: str, trusted: str) -> None:
    networks = trusted.split(", ")
    assert base(FORWARDED, (client, 1), *networks) == "https://bot.example.com"


@pytest.mark.parametrize("client", [("10.0.0.6", 1), ("fd00::5", 1), ("/run/sock", 1), None])
def test_anybody_else_is_not(client: tuple[str, int] | None) -> None:
    assert base(FORWARDED, client, "10.0.0.5") == "http://10.0.0.9:8000"


def test_of_several_proxies_the_first_is_the_one_twilio_called() -> None:
    headers = FORWARDED | {
        b"x-forwarded-proto": b"HTTPS, http",
        b"x-forwarded-host": b" a.example , b.example",
    }
    assert base(headers, ("10.0.0.5", 1), "10.0.0.5") == "https://a.example"


def test_a_proxy_that_says_nothing_leaves_the_requests_own() -> None:
    headers = {b"host": b"a.example", b"x-forwarded-proto": b"gopher"}
    assert base(headers, ("10.0.0.5", 1), "10.0.0.5") == "http://a.example"


@pytest.mark.parametrize("wrong", ["proxy.local", "10.0.0.1/8", "10.0.0.0/33", "*"])
def test_what_is_no_address_stops_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match=r"OFFHOOK_TRUSTED_PROXIES: .*10\.0\.0\.5"):
        PublicUrl(settings(trusted_proxies=("10.0.0.5", wrong)))


def test_a_server_without_raw_path_gets_the_path_quoted() -> None:
    assert raw_path(scope(path="/a b/é/c+d@e")) == "/a%20b/%C3%A9/c+d@e"
    assert raw_path(scope(raw_path=b"/%61")) == "/%61"


@pytest.mark.parametrize(
    ("root_path", "path", "below"),
    [
        ("", "/twilio/status", "/twilio/status"),
        ("/sms", "/sms/twilio/status", "/twilio/status"),
        ("/sms", "/smsother/twilio", "/smsother/twilio"),
        ("/sms", "/twilio/status", "/twilio/status"),  # a server that took it away itself
    ],
)
def test_a_route_is_found_below_the_root_path(root_path: str, path: str, below: str) -> None:
    assert route_path({"path": path, "root_path": root_path}) == below


def test_a_websocket_is_turned_away() -> None:
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "websocket.connect"}

    async def send(message: Message) -> None:
        sent.append(message)

    websocket: Scope = {"type": "websocket", "path": "/twilio/messages"}
    asyncio.run(Router({})(websocket, receive, send))
    asyncio.run(Offhook(store="postgresql://127.0.0.1:1/nothing")(websocket, receive, send))
    assert [message["type"] for message in sent] == ["websocket.close"] * 2


async def test_forwarding_headers_count_only_from_a_trusted_peer(tmp_path: Path) -> None:
    forwarded = {"X-Forwarded-Proto": "https", "X-Forwarded-Host": "outside.example"}
    url = "https://outside.example/twilio/messages"

    async with line(tmp_path, public_url="") as running:
        reply = await running.post(url=url, headers=forwarded)
        assert (reply.status, reply.error) == (403, "signature-mismatch")
        own = f"{running.base}/twilio/messages"
        host = {"Host": f"127.0.0.1:{running.port}"}
        assert (await running.post(url=own, headers=host | forwarded)).status == 200
    believing: dict[str, Any] = {
        "trusted_proxies": "127.0.0.0/8",
        "allowed_hosts": "outside.example",
    }
    async with line(tmp_path, public_url="", **believing) as running:
        assert (await running.post(url=url, headers=forwarded)).status == 200


@pytest.mark.parametrize("host", ["", "[", "[zz]", "a b", "a:99999999", "ü", "a/../b?c#d"])
async def test_no_host_however_odd_is_more_than_refused(tmp_path: Path, host: str) -> None:
    async with line(tmp_path, public_url="") as running:
        reply = await running.post(headers={"Host": host})
        assert (reply.status, reply.error) == (400, "bad-host")
        assert running.problems == []
        assert await running.stored() == []


def test_other_names_of_a_request_are_told_from_its_headers_whoever_sent_them() -> None:
    url = PublicUrl(settings(public_url="https://a.example/bots"))
    headers = FORWARDED | {b"x-forwarded-prefix": b"/api/"}
    assert list(dict.fromkeys(url.other_bases(scope(), headers))) == [
        "http://a.example/bots",
        "https://bot.example.com/api",
        "http://bot.example.com/api",
        "https://bot.example.com",
        "http://bot.example.com",
        "https://10.0.0.9:8000/api",
        "http://10.0.0.9:8000/api",
        "https://10.0.0.9:8000",
        "http://10.0.0.9:8000",
        "https://10.0.0.9/api",
        "http://10.0.0.9/api",
        "https://10.0.0.9",
        "http://10.0.0.9",
        "https://a.example/api",
        "http://a.example/api",
        "https://a.example",
        "http://a.example",
    ]


@pytest.mark.parametrize(
    ("public_url", "headers"),
    [
        ("https://old.example.com", {"Host": "tunnel.example.net"}),
        ("", {"Host": "tunnel.example.net", "X-Forwarded-Proto": "https"}),
        ("", {"X-Forwarded-Host": "tunnel.example.net"}),
        ("https://tunnel.example.net/bots", {}),
        ("http://tunnel.example.net", {}),
        ("", {"X-Original-Host": "tunnel.example.net"}),
        ("", {"Forwarded": 'for=192.0.2.1;proto=https;host="tunnel.example.net", for=10.0.0.1'}),
        ("", {"Host": "tunnel.example.net:8000"}),
    ],
)
async def test_behind_a_proxy_the_operator_is_told_what_to_set(
    tmp_path: Path, public_url: str, headers: dict[str, str]
) -> None:
    called = "https://tunnel.example.net"

    async with line(tmp_path, public_url=public_url) as running:
        reply = await running.post(url=f"{called}/twilio/messages", headers=headers)
        assert (reply.status, reply.error) == (403, "signature-mismatch")
        told = await running.answered()
        assert told.detail.endswith(f"set OFFHOOK_PUBLIC_URL={called}")
        assert "tunnel" not in str(reply.headers)


@pytest.mark.parametrize(
    ("called", "headers"),
    [
        ("https://a.example/bots", {"X-Original-URI": "/bots/twilio/messages?x=1"}),
        ("https://a.example/bots", {"X-Forwarded-Uri": "/bots/twilio/messages"}),
        ("https://a.example/bots", {"X-Forwarded-Prefix": "/bots/"}),
        ("https://a.example:8443", {"X-Forwarded-Port": "8443"}),
    ],
)
async def test_what_a_proxy_took_away_is_found_again(
    tmp_path: Path, called: str, headers: dict[str, str]
) -> None:
    async with line(tmp_path, public_url="") as running:
        given = {"Host": "a.example", **headers}
        await running.post(url=f"{called}/twilio/messages", headers=given)
        assert (await running.answered()).detail.endswith(f"set OFFHOOK_PUBLIC_URL={called}")
