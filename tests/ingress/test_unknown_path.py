"""What Twilio sends to a path that is no route is told to the operator; what others send is not."""

import asyncio
from pathlib import Path
from time import perf_counter

import pytest
from starlette.applications import Starlette
from starlette.routing import Mount

from offhook.core.signature import sign, with_body_sha256
from offhook.events import Topic
from offhook.ingress.validation import DIAGNOSIS_INTERVAL
from testing.webhooks import (
    FORM,
    MESSAGE,
    PUBLIC,
    TOKEN,
    Line,
    encoded,
    line,
    read_reply,
    request,
)

ASTRAY = (
    "/sms",
    "/",
    "//twilio/messages",
    "/twilio/messages/",
    "/Twilio/Messages",
    "/twilio%2fmessages",
    "/twilio/messages%2f",
    "/twilio",
    "/bot/twilio/messages?a=1",
)


def told(running: Line) -> list[str]:
    return [problem.text for problem in running.problems if problem.topic is Topic.ASTRAY]


async def until_told(running: Line, count: int) -> None:
    async with asyncio.timeout(60):
        while len(told(running)) < count:  # noqa: ASYNC110 - it is told after the answer
            await asyncio.sleep(0.01)


@pytest.mark.parametrize("target", ASTRAY)
async def test_a_signed_webhook_to_no_route_is_told_with_the_right_url(
    tmp_path: Path, target: str
) -> None:
    async with line(tmp_path) as running:
        reply = await running.post(target)
        assert (reply.status, reply.error) == (404, "not-found")
        await until_told(running, 1)
        (text,) = told(running)
        assert f"Twilio called '{PUBLIC}{target.partition('?')[0]}', which" in text
        assert f"{PUBLIC}/twilio/messages for messages" in text
        assert f"{PUBLIC}/twilio/status for statuses" in text
        assert await running.stored() == []


async def test_so_is_a_get_and_what_is_no_message(tmp_path: Path) -> None:
    async with line(tmp_path) as running:
        target = "/sms?Body=secret"
        signature = {"X-Twilio-Signature": sign(url=PUBLIC + target, auth_token=TOKEN)}
        await running.exchange(request("GET", target, b"", signature))
        await until_told(running, 1)
        await asyncio.sleep(DIAGNOSIS_INTERVAL)
        url = with_body_sha256(f"{PUBLIC}/studio", b"{}")
        headers = {
            "X-Twilio-Signature": sign(url=url, auth_token=TOKEN),
            "Content-Type": "application/json",
        }
        await running.exchange(request("POST", url.removeprefix(PUBLIC), b"{}", headers))
        await until_told(running, 2)
        assert "secret" not in "".join(told(running))


async def test_below_a_mount_the_right_url_has_its_path(tmp_path: Path) -> None:
    mounted = line(tmp_path, mounted=lambda app: Starlette(routes=[Mount("/hooks", app)]))
    async with mounted as running:
        await running.post("/hooks/sms")
        await until_told(running, 1)
        assert f"{PUBLIC}/hooks/twilio/messages for messages" in told(running)[0]


async def test_others_are_answered_404_and_not_told(tmp_path: Path) -> None:
    async with line(tmp_path) as running:
        forged = {"X-Twilio-Signature": "A" * 27 + "=", "Content-Type": FORM}
        for data in (
            request("POST", "/sms", encoded(MESSAGE), {}),
            request("POST", "/sms", encoded(MESSAGE), forged),
            request("PUT", "/sms", encoded(MESSAGE), forged),
            request("GET", "/sms", b"", {"X-Twilio-Signature": ""}),
        ):
            assert (await running.exchange(data)).error == "not-found"
        assert running.problems == []


async def test_one_a_second_is_looked_into_and_no_more_of_any_than_its_bound(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = perf_counter()
    monkeypatch.setattr("offhook.ingress.unknown_path.perf_counter", lambda: now)

    async with line(tmp_path, body_limit=1024, body_timeout=0.3) as running:
        forged = {"X-Twilio-Signature": "a", "Content-Type": FORM, "Content-Length": "900000"}
        reply = await running.exchange(request("POST", "/sms", b"", forged))
        assert (reply.status, reply.error) == (404, "not-found")
        # Within the same second nobody waits for a body, however it is signed.
        async with running.connection() as (reader, writer):
            forged["Content-Length"] = "9"
            writer.write(request("POST", "/sms", b"", forged))
            assert (await read_reply(reader)).status == 404
        for _ in range(20):
            assert (await running.post("/sms")).status == 404
        assert told(running) == []
        now += DIAGNOSIS_INTERVAL
        for _ in range(20):
            assert (await running.post("/sms")).status == 404
        await until_told(running, 1)
        assert len(told(running)) == 1
