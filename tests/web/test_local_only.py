"""Whoever is not at this machine, or has no token, sees nothing of the pages."""

import asyncio
from collections.abc import Mapping
from urllib.parse import urlsplit

import httpx2
import pytest
from starlette.responses import PlainTextResponse
from starlette.types import Receive, Scope, Send

from offhook.web.local_only import SECURITY_HEADERS, TokenAuth, is_loopback
from testing.plain_http import PlainAsyncClient

TOKEN = "the-token-of-this-start"
HOST = "127.0.0.1:8000"
SECRET = "what only the owner may see"


async def pages(scope: Scope, receive: Receive, send: Send) -> None:
    await PlainTextResponse(SECRET)(scope, receive, send)


def ask(
    *requests: tuple[str, str],
    host: str = HOST,
    peer: str = "127.0.0.1",
    headers: Mapping[str, str] | None = None,
) -> httpx2.Response:
    """Make requests with one jar of cookies; return the last answer."""

    async def scenario() -> httpx2.Response:
        transport = httpx2.ASGITransport(TokenAuth(pages, TOKEN), client=(peer, 50_000))
        async with PlainAsyncClient(transport=transport, base_url=f"http://{HOST}") as client:
            for method, path in requests[:-1]:
                await client.request(method, path)
            method, path = requests[-1]
            return await client.request(method, path, headers={"Host": host, **(headers or {})})

    return asyncio.run(scenario())


ENTER = ("GET", f"/phone?token={TOKEN}")


def test_the_link_gives_a_cookie_and_leads_to_the_clean_url() -> None:
    answer = ask(ENTER)
    assert answer.status_code == 303
    assert answer.headers["Location"] == "/phone"
    cookie = answer.headers["Set-Cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert TOKEN not in cookie


def test_who_has_the_cookie_sees_the_pages() -> None:
    answer = ask(ENTER, ("GET", "/phone"))
    assert (answer.status_code, answer.text) == (200, SECRET)
    for name, value in SECURITY_HEADERS.items():
        assert answer.headers[name] == value


def test_a_browser_without_the_token_gets_a_page_that_says_what_to_open() -> None:
    answer = ask(("GET", "/phone"), headers={"Accept": "text/html,*/*"})
    assert answer.status_code == 403
    assert answer.headers["Content-Type"].startswith("text/html")
    assert "Open the full link printed in your terminal" in answer.text


@pytest.mark.parametrize("path", ["/phone", "/phone?token=", "/phone?token=wrong"])
def test_who_has_no_token_sees_nothing(path: str) -> None:
    answer = ask(("GET", path))
    assert answer.status_code == 403
    assert SECRET not in answer.text
    assert "Set-Cookie" not in answer.headers


@pytest.mark.parametrize(
    "host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1:8000", "localhost@evil", ""]
)
def test_under_a_foreign_name_there_is_nothing(host: str) -> None:
    answer = ask(ENTER, ("GET", "/phone"), host=host)
    assert answer.status_code == 404
    assert SECRET not in answer.text
    # As where nothing is on the webhooks' port: nobody learns that pages are here.
    assert answer.headers["X-Offhook-Error"] == "not-found"


@pytest.mark.parametrize("name", ["X-Forwarded-For", "Forwarded", "X-Forwarded-Host", "Via"])
def test_through_a_tunnel_there_is_nothing(name: str) -> None:
    answer = ask(ENTER, ("GET", "/phone"), headers={name: "192.0.2.7"})
    assert answer.status_code == 404


@pytest.mark.parametrize("peer", ["192.0.2.7", "2001:db8::7", "::ffff:192.0.2.7", ""])
def test_from_another_machine_there_is_nothing(peer: str) -> None:
    assert ask(ENTER, peer=peer).status_code == 404


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_this_machine_has_several_addresses(peer: str) -> None:
    assert ask(ENTER, peer=peer).status_code == 303


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://127.0.0.1:9999", "https://127.0.0.1:8000"]
)
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_what_another_site_asks_for_is_refused(origin: str, method: str) -> None:
    answer = ask(ENTER, (method, "/phone"), headers={"Origin": origin})
    assert answer.status_code == 403
    assert SECRET not in answer.text


def test_what_changes_something_must_say_where_it_comes_from() -> None:
    assert ask(ENTER, ("POST", "/phone")).status_code == 403
    own = ask(ENTER, ("POST", "/phone"), headers={"Origin": f"http://{HOST}"})
    assert own.status_code == 200


@pytest.mark.parametrize("path", ["//evil.example/", "/\\evil.example", "/a%0d%0aSet-Cookie:x=y"])
def test_the_link_leads_nowhere_else(path: str) -> None:
    location = ask(("GET", f"{path}?token={TOKEN}")).headers["Location"]
    assert urlsplit(location).netloc == ""
    assert "\n" not in location
    assert "\\" not in location


@pytest.mark.parametrize("host", ["localhost", "[::1]", "127.0.0.1:99999999", "[::1]:8000"])
def test_any_name_of_this_machine_will_do(host: str) -> None:
    assert ask(ENTER, host=host).status_code == 303


def test_names_of_this_machine() -> None:
    assert all(map(is_loopback, ("localhost", "localhost:8000", "127.0.0.1:80", "[::1]:8000")))
    assert not any(
        map(is_loopback, ("", "evil", "localhost.evil", "127.0.0.2", "localhost:8000\n"))
    )
