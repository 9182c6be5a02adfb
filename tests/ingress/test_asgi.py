"""What Twilio is answered over a real socket when it does as it should."""

import asyncio
from pathlib import Path

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.routing import Mount
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from offhook.core.forms import decode_form
from offhook.core.keys import Kind
from offhook.core.signature import sign
from testing.plain_http import PlainAsyncClient
from testing.webhooks import (
    ACCOUNT,
    FORM,
    MESSAGE,
    PUBLIC,
    SID,
    STATUS,
    TOKEN,
    TWIML,
    Shell,
    changed,
    encoded,
    line,
    named,
    request,
)


async def test_a_message_is_stored_and_answered_with_twiml_that_says_nothing(
    tmp_path: Path,
    shell: Shell,
) -> None:
    async with line(tmp_path, shell=shell) as running:
        reply = await running.post()
        assert (reply.status, reply.body) == (200, TWIML)
        assert reply.headers["content-type"] == "text/xml"
        assert reply.error == ""
        (record,) = await running.stored()
        assert (record.kind, record.sid, record.account_sid) == (Kind.MESSAGE, SID, ACCOUNT)
        assert (record.sender, record.recipient) == ("+14155550199", "+14155550100")
        assert record.form == encoded(MESSAGE)


async def test_each_request_is_told_once_with_the_time_of_each_phase(
    tmp_path: Path, shell: Shell
) -> None:
    async with line(tmp_path, shell=shell) as running:
        await running.post()
        told = await running.answered()
        assert (told.kind, told.status, told.error) == (Kind.MESSAGE, 200, "")
        assert (told.sid, told.sender, told.repeat) == (SID, "+14155550199", False)
        assert min(told.validate, told.enqueue, told.acknowledge) > 0
        assert running.told.empty()


async def test_a_status_is_stored_and_answered_204_without_a_body(
    tmp_path: Path, shell: Shell
) -> None:
    async with line(tmp_path, shell=shell) as running:
        reply = await running.post("/twilio/status", STATUS)
        assert (reply.status, reply.body) == (204, b"")
        assert "content-type" not in reply.headers
        assert "transfer-encoding" not in reply.headers
        (record,) = await running.stored()
        assert (record.kind, record.sid) == (Kind.STATUS, SID)


async def test_each_status_of_a_message_is_stored_once(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell) as running:
        for status in ("sent", "delivered", "sent"):
            fields = changed(STATUS, MessageStatus=status, SmsStatus=status)
            assert (await running.post("/twilio/status", fields)).status == 204
        assert [(await running.answered()).repeat for _ in range(3)] == [False, False, True]
        assert len(await running.stored()) == 2


async def test_a_status_keeps_the_number_of_the_send_that_its_url_carries(
    tmp_path: Path, shell: Shell
) -> None:
    async with line(tmp_path, shell=shell) as running:
        await running.post("/twilio/status?send=17&MessageStatus=failed", STATUS)
        (record,) = await running.stored()
        form = decode_form(record.form)
        assert form.get("send") == "17"
        assert form.get("MessageStatus") == "delivered"


async def test_a_query_and_a_form_together_stay_readable(tmp_path: Path, shell: Shell) -> None:
    many = (*MESSAGE, *((f"Extra{n}", "1") for n in range(970)))

    async with line(tmp_path, shell=shell) as running:
        query = "&".join(f"q{n}=1" for n in range(20))
        reply = await running.post(f"/twilio/messages?{query}", many)
        assert (reply.status, reply.error) == (400, "too-many-fields")
        assert (await running.post("/twilio/messages?bot=1", many)).status == 200
        (record,) = await running.stored()
        assert decode_form(record.form).get("bot") == "1"


async def test_a_message_may_come_as_a_get(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell) as running, PlainAsyncClient() as client:
        target = f"/twilio/messages?{encoded(MESSAGE).decode()}"
        headers = {"X-Twilio-Signature": sign(url=PUBLIC + target, auth_token=TOKEN)}
        reply = await client.get(running.base + target, headers=headers)
        assert (reply.status_code, reply.content) == (200, TWIML)
        (record,) = await running.stored()
        assert record.form == encoded(MESSAGE)


@pytest.mark.parametrize(
    ("method", "target", "allowed"),
    [
        ("PUT", "/twilio/messages", "GET, POST"),
        ("HEAD", "/twilio/messages", "GET, POST"),
        ("GET", "/twilio/status", "POST"),
        ("OPTIONS", "/twilio/status", "POST"),
    ],
)
async def test_another_method_is_told_which_are_allowed(
    tmp_path: Path, shell: Shell, method: str, target: str, allowed: str
) -> None:
    async with line(tmp_path, shell=shell) as running, PlainAsyncClient() as client:
        reply = await client.request(method, running.base + target)
        assert (reply.status_code, reply.headers["allow"]) == (405, allowed)
        assert reply.headers["x-offhook-error"] == "method-not-allowed"
        assert reply.content == (b"" if method == "HEAD" else TWIML)
        # The connection is still in order after a HEAD.
        assert (await client.get(running.base + "/healthz")).status_code == 200


@pytest.mark.parametrize("path", ["/", "/twilio", "/twilio/messages/", "/twilio/../etc", "//"])
async def test_an_unknown_path_is_not_found(tmp_path: Path, shell: Shell, path: str) -> None:
    async with line(tmp_path, shell=shell) as running:
        reply = await running.post(path)
        assert (reply.status, reply.error, reply.body) == (404, "not-found", TWIML)
        assert running.told.empty()


@pytest.mark.parametrize(
    "target",
    [
        "/twilio/%6Dessages",
        "/twilio/messages?name=O%27Brien&plus=a+b&c=%2B",
        "/twilio/messages?quote='&space=%20&empty=&&flag",
        "/twilio/%6dessages?path=%2Ftwilio%2f",
    ],
)
async def test_the_url_is_taken_as_it_came_over_the_wire(
    tmp_path: Path, shell: Shell, target: str
) -> None:
    async with line(tmp_path, shell=shell) as running:
        assert (await running.post(target)).status == 200


@pytest.mark.parametrize("parameter", ["; charset=UTF-8", ";charset=utf-8", "; charset=us-ascii"])
async def test_a_form_may_name_its_charset(tmp_path: Path, shell: Shell, parameter: str) -> None:
    async with line(tmp_path, shell=shell) as running:
        reply = await running.post(headers={"Content-Type": FORM + parameter})
        assert reply.status == 200


async def test_either_token_of_a_rotation_may_have_signed(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell, auth_token=f"newer{TOKEN},{TOKEN}") as running:
        assert (await running.post()).status == 200


async def test_with_signatures_off_a_webhook_is_believed_as_it_is(
    tmp_path: Path, shell: Shell
) -> None:
    async with line(tmp_path, shell=shell, signature="off", auth_token="") as running:
        body = encoded(MESSAGE)
        send = request("POST", "/twilio/messages", body, {"Content-Type": FORM})
        assert (await running.exchange(send)).status == 200
        get = request("GET", f"/twilio/messages?{body.decode()}", b"", {})
        assert (await running.exchange(get)).status == 200
        malformed = request("POST", "/twilio/messages", b"a=%", {"Content-Type": FORM})
        assert (await running.exchange(malformed)).error == "malformed-form"
        assert len(await running.stored()) == 1


async def test_a_connection_carries_many_webhooks(tmp_path: Path, shell: Shell) -> None:
    async with line(tmp_path, shell=shell) as running, PlainAsyncClient() as client:
        url = f"{running.base}/twilio/messages"

        async def send(number: int) -> int:
            fields = named(MESSAGE, f"SM{number:032d}")
            signature = sign(url=PUBLIC + "/twilio/messages", params=fields, auth_token=TOKEN)
            headers = {"Content-Type": FORM, "X-Twilio-Signature": signature}
            reply = await client.post(url, content=encoded(fields), headers=headers)
            return reply.status_code

        assert await asyncio.gather(*map(send, range(49))) == [200] * 49
        assert len(await running.stored()) == 49


async def test_mounted_in_fastapi_the_prefix_is_part_of_what_is_signed(tmp_path: Path) -> None:
    def mounted(app: ASGIApp) -> ASGIApp:
        host = FastAPI()
        host.mount("/bots/sms", app)
        return host

    async with line(tmp_path, mounted=mounted) as running:
        assert (await running.post("/bots/sms/twilio/messages")).status == 200
        assert (await running.post("/bots/sms/twilio/status", STATUS)).status == 204
        assert (await running.post("/bots/sms/healthz")).status == 405
        assert (await running.post("/bots/sms/nothing")).error == "not-found"
        assert len(await running.stored()) == 2


async def test_mounted_in_a_mount_behind_a_root_path(tmp_path: Path) -> None:
    def mounted(app: ASGIApp) -> ASGIApp:
        return Starlette(routes=[Mount("/a", routes=[Mount("/b", app=app)])])

    async with line(tmp_path, mounted=mounted, root_path="/behind") as running:
        # The proxy took /behind away; uvicorn puts it back, as Twilio called it.
        url = f"{PUBLIC}/behind/a/b/twilio/messages"
        assert (await running.post("/a/b/twilio/messages", url=url)).status == 200


class _Stamping:
    """A host's middleware that adds a header to each answer, in place as Starlette's do."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def stamping(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).append("x-stamp", "1")
            await send(message)

        await self._app(scope, receive, stamping)


async def test_what_a_host_adds_to_one_answer_is_not_in_the_next(tmp_path: Path) -> None:
    async with line(tmp_path, mounted=_Stamping) as running, PlainAsyncClient() as client:
        for _ in range(3):
            reply = await client.post(running.base + "/twilio/messages")
            assert reply.headers.get_list("x-stamp") == ["1"]
