"""Who is let in to the dashboard on the admin address."""

import asyncio
import re
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus

import httpx2
import pytest
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

from offhook.admin.forms import CSRF, read_body
from offhook.admin.login import COOKIE, LOGIN, LOGOUT, SESSION_SECONDS, Login
from offhook.admin.pages import Pages
from testing.plain_http import PlainAsyncClient

NAME = f"{COOKIE}_"  # on a host without a port
TOKEN = "correct horse battery"
PAGE = {"Accept": "text/html"}
Visitor = httpx2.AsyncClient
Scenario = Callable[[Visitor, "Clock"], Awaitable[None]]


class Clock:
    now = 1_000_000.0

    def __call__(self) -> float:
        return self.now


async def dashboard(scope: Scope, receive: Receive, send: Send) -> None:
    request = Request(scope)
    await PlainTextResponse(f"inside {request.scope.get(CSRF, '')}")(scope, receive, send)


@asynccontextmanager
async def visited(token: str = TOKEN) -> AsyncIterator[tuple[Visitor, Clock]]:
    clock = Clock()
    access = Login(dashboard, token, Pages().render, clock=clock)
    transport = httpx2.ASGITransport(app=access)
    async with PlainAsyncClient(transport=transport, base_url="http://127.0.0.1") as visitor:
        yield visitor, clock


async def log_in(visitor: Visitor, token: str = TOKEN, **query: str) -> httpx2.Response:
    return await visitor.post(LOGIN, data={"token": token}, params=query)


async def is_inside(visitor: Visitor) -> bool:
    answer = await visitor.get("/dashboard", headers=PAGE)
    if answer.status_code == HTTPStatus.SEE_OTHER:
        assert answer.headers["location"] == f"{LOGIN}?next=%2Fdashboard"
        return False
    return answer.text.startswith("inside ")


async def test_who_has_the_token_is_let_in_and_led_where_they_wanted_to_go() -> None:
    async with visited() as (visitor, _clock):
        wanted = "/dashboard/messages?state=dead"
        away = await visitor.get(wanted, headers=PAGE)
        assert away.headers["location"] == f"{LOGIN}?next=%2Fdashboard%2Fmessages%3Fstate%3Ddead"
        form = await visitor.get(away.headers["location"])
        assert form.status_code == HTTPStatus.OK
        assert "default-src 'none'" in form.headers["content-security-policy"]
        let_in = await log_in(visitor, next=wanted)
        assert let_in.headers["location"] == wanted
        cookie = let_in.headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite=strict" in cookie
        assert TOKEN not in cookie
        assert await is_inside(visitor)


@pytest.mark.parametrize("given", ["", "wrong", TOKEN[:-1], TOKEN + " ", "\0", "t\N{SNOWMAN}"])
async def test_who_has_not_is_not(given: str) -> None:
    async with visited() as (visitor, _clock):
        answer = await log_in(visitor, given)
        assert answer.status_code == HTTPStatus.FORBIDDEN
        assert "set-cookie" not in answer.headers
        assert not await is_inside(visitor)


async def test_without_a_login_orders_and_streams_are_refused_and_styles_are_not() -> None:
    async with visited() as (visitor, _clock):
        for method, path in [("POST", "/dashboard/messages/1/replay"), ("GET", "/dashboard")]:
            answer = await visitor.request(method, path, headers={"Accept": "text/event-stream"})
            assert answer.status_code == HTTPStatus.UNAUTHORIZED
        assert (await visitor.get("/design/offhook.css")).text.startswith("inside ")
        assert (await visitor.get("/dashboard/static/../messages")).status_code != HTTPStatus.OK


async def test_wrong_tokens_lock_the_door_for_a_while_to_the_right_one_too() -> None:
    async with visited() as (visitor, clock):
        for _ in range(5):
            assert (await log_in(visitor, "wrong")).status_code == HTTPStatus.FORBIDDEN
        assert (await log_in(visitor)).status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert not await is_inside(visitor)
        clock.now += 60
        for _ in range(55):
            assert (await log_in(visitor, "wrong")).status_code == HTTPStatus.FORBIDDEN
            clock.now += 12
        clock.now += 3600 - 60 - 55 * 12 - 1
        locked = await log_in(visitor)
        assert locked.status_code == HTTPStatus.TOO_MANY_REQUESTS
        assert "an hour" in locked.text
        clock.now += 1
        assert (await log_in(visitor)).status_code == HTTPStatus.SEE_OTHER
        assert await is_inside(visitor)


async def test_a_login_ends_after_twelve_hours() -> None:
    async with visited() as (visitor, clock):
        await log_in(visitor)
        clock.now += SESSION_SECONDS - 1
        assert await is_inside(visitor)
        clock.now += 2
        assert not await is_inside(visitor)


async def test_who_has_logged_out_is_out_with_every_copy_of_the_cookie() -> None:
    async with visited() as (visitor, _clock):
        await log_in(visitor)
        stolen = visitor.cookies[NAME]
        token = (await visitor.get("/dashboard")).text.removeprefix("inside ")
        refused = await visitor.post(LOGOUT, data={"csrf": "another"})
        assert refused.status_code == HTTPStatus.FORBIDDEN
        assert await is_inside(visitor)
        left = await visitor.post(LOGOUT, data={"csrf": token})
        assert left.headers["location"] == LOGIN
        assert NAME not in visitor.cookies
        visitor.cookies.set(NAME, stolen)
        assert not await is_inside(visitor)


@pytest.mark.parametrize(
    "change",
    [
        lambda cookie: "9" + cookie,
        lambda cookie: cookie[:-1],
        lambda cookie: cookie.replace(".", "", 1),
        lambda _: "..",
        lambda _: "",
        lambda cookie: cookie + "0" * 5000,
    ],
    ids=["another end", "cut", "run together", "dots", "nothing", "longer"],
)
async def test_a_cookie_that_was_changed_is_none(change: Callable[[str], str]) -> None:
    async with visited() as (visitor, _clock):
        await log_in(visitor)
        cookie = visitor.cookies[NAME]
        visitor.cookies.clear()
        visitor.cookies.set(NAME, change(cookie))
        assert not await is_inside(visitor)


async def test_a_cookie_of_another_token_is_none() -> None:
    cookies: list[str] = []
    async with visited() as (visitor, _clock):
        await log_in(visitor)
        cookies.append(visitor.cookies[NAME])
    async with visited(token="another token of ours") as (visitor, _clock):
        visitor.cookies.set(NAME, cookies[0])
        assert not await is_inside(visitor)


@pytest.mark.parametrize(
    "wanted",
    ["https://evil.example", "//evil.example", "/phone", "/dashboard\\@evil", "/dashboardx"],
)
async def test_the_login_leads_nowhere_else(wanted: str) -> None:
    async with visited() as (visitor, _clock):
        answer = await log_in(visitor, next=wanted)
        assert re.fullmatch("/dashboard", answer.headers["location"])


async def test_what_another_site_makes_a_browser_ask_is_refused() -> None:
    async with visited() as (visitor, _clock):
        await log_in(visitor)
        foreign = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"}
        for method in ("GET", "POST"):
            answer = await visitor.request(method, "/dashboard", headers=foreign)
            assert answer.status_code == HTTPStatus.FORBIDDEN


@pytest.mark.parametrize("open_", ["/dashboard/static/", "/design/", LOGIN])
@pytest.mark.parametrize("mark", ["?", "#"], ids=["query", "fragment"])
async def test_what_the_host_header_says_opens_no_path(open_: str, mark: str) -> None:
    async with visited() as (visitor, _clock):
        headers = {"Host": f"h{open_}{mark}"}
        for method in ("GET", "POST"):
            answer = await visitor.request(method, "/dashboard/messages", headers=headers)
            assert answer.status_code == HTTPStatus.UNAUTHORIZED


async def test_what_is_open_to_all_has_no_token_that_can_be_guessed() -> None:
    async with visited() as (visitor, _clock):
        found = {(await visitor.get("/dashboard/static/x.css")).text for _ in range(2)}
        assert len(found) == 2
        assert all(len(text) > len("inside ") + 20 for text in found)


async def test_a_form_that_is_too_long_is_refused_and_no_error() -> None:
    async with visited() as (visitor, _clock):
        answer = await visitor.post(LOGIN, content="token=" + "a" * 5000)
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE
        await log_in(visitor)
        answer = await visitor.post(LOGOUT, content="csrf=" + "a" * 5000)
        assert answer.status_code == HTTPStatus.REQUEST_ENTITY_TOO_LARGE


def form_scope() -> Scope:
    asked = {"type": "http", "method": "POST", "path": LOGIN, "query_string": b""}
    return {**asked, "scheme": "http", "headers": [(b"host", b"127.0.0.1:8001")], "client": None}


def test_who_hangs_up_in_the_middle_of_a_form_is_no_error() -> None:
    async def hung_up() -> Message:
        return {"type": "http.disconnect"}

    sent: list[Message] = []

    async def send(message: Message) -> None:
        sent.append(message)

    access = Login(dashboard, TOKEN, Pages().render)
    asyncio.run(access(form_scope(), hung_up, send))
    assert sent[0]["status"] == HTTPStatus.BAD_REQUEST


async def test_a_form_that_does_not_come_is_not_waited_for() -> None:
    async def silent() -> Message:
        await asyncio.Event().wait()
        return {"type": "http.disconnect"}

    with pytest.raises(HTTPException) as refused:
        await read_body(Request(form_scope(), silent), within=0.01)
    assert refused.value.status_code == HTTPStatus.REQUEST_TIMEOUT


async def test_those_who_guess_at_once_guess_no_more_often() -> None:
    async with visited() as (visitor, _clock):
        begun = asyncio.Barrier(20)

        async def slow() -> AsyncIterator[bytes]:
            yield b"token="
            await begun.wait()  # until all are in the middle of their form
            yield b"wrong"

        async def guess() -> int:
            return (await visitor.post(LOGIN, content=slow())).status_code

        answers = await asyncio.gather(*(guess() for _ in range(20)))
        assert answers.count(HTTPStatus.FORBIDDEN) == 5
        assert answers.count(HTTPStatus.TOO_MANY_REQUESTS) == 15


@pytest.mark.parametrize(("proto", "secure"), [("https", True), ("http", False)])
async def test_the_cookie_of_who_comes_by_tls_goes_no_other_way(proto: str, secure: bool) -> None:
    async with visited() as (visitor, _clock):
        headers = {"X-Forwarded-Proto": proto}
        answer = await visitor.post(LOGIN, data={"token": TOKEN}, headers=headers)
        assert ("Secure" in answer.headers["set-cookie"]) is secure


async def test_what_forms_carry_is_no_login() -> None:
    async with visited() as (visitor, _clock):
        await log_in(visitor)
        login = visitor.cookies[NAME].rpartition(".")[0]
        token = (await visitor.get("/dashboard")).text.removeprefix("inside ")
        visitor.cookies.clear()
        for forged in (f"csrf {login}.{token}", f"{login}.{token}"):
            answer = await visitor.get("/dashboard", headers={"Cookie": f"{NAME}={forged}"})
            assert answer.status_code == HTTPStatus.UNAUTHORIZED


async def test_bots_on_one_machine_have_a_login_each() -> None:
    async with visited() as (visitor, _clock):
        names = set()
        for port in (8001, 8002):
            headers = {"Host": f"127.0.0.1:{port}"}
            answer = await visitor.post(LOGIN, data={"token": TOKEN}, headers=headers)
            names.add(answer.headers["set-cookie"].partition("=")[0])
        assert names == {f"{COOKIE}_8001", f"{COOKIE}_8002"}
