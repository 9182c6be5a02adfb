"""Without OFFHOOK_PUBLIC_URL, a webhook is taken by names of this machine alone, or listed ones."""

import socket
from pathlib import Path
from typing import Any

import httpx2
import pytest

from offhook import Offhook
from offhook.admin.routes import admin_routes
from offhook.core.hosts import HostNames
from offhook.errors import SettingsError
from offhook.events import Problem
from testing.plain_http import PlainAsyncClient
from testing.webhooks import (
    ACCOUNT,
    FORM,
    MESSAGE,
    TOKEN,
    encoded,
    line,
    request,
    settings,
)
from tests.web.test_app_guard import Told


@pytest.mark.parametrize(
    ("allowed", "host", "status"),
    [
        ("", "127.0.0.1", 200),
        ("", "LOCALHOST:9000", 200),
        ("", "[::1]:8000", 200),
        ("", f"{socket.gethostname()}:8000", 200),
        ("", "other-bot.example.com", 421),
        ("", "127.0.0.1.example.com", 421),
        ("", "203.0.113.7", 421),
        ("bot.example.com", "bot.example.com:8443", 200),
        ("bot.example.com", "other-bot.example.com", 421),
        ("bot.example.com", "localhost", 421),
        ("*.example.com,localhost", "other-bot.example.com", 200),
        ("*", "anything.example.net", 200),
    ],
)
async def test_a_webhook_for_another_bot_with_the_same_token_is_refused(
    tmp_path: Path, allowed: str, host: str, status: int
) -> None:
    async with line(tmp_path, public_url="", allowed_hosts=allowed) as running:
        url = f"http://{host}/twilio/messages"
        reply = await running.post(url=url, headers={"Host": host})
        assert (reply.status, reply.error) == (status, "host-not-allowed" * (status == 421))
        told = await running.answered()
        if status == 421:
            assert f"set OFFHOOK_PUBLIC_URL=http://{host}" in told.detail
            assert told.detail.endswith("to OFFHOOK_ALLOWED_HOSTS")
            assert await running.stored() == []


async def test_who_does_not_sign_learns_nothing_of_hosts(tmp_path: Path) -> None:
    async with line(tmp_path, public_url="") as running:
        headers = {"Host": "other.example.com", "Content-Type": FORM}
        data = request("POST", "/twilio/messages", encoded(MESSAGE), headers)
        assert (await running.exchange(data)).error == "missing-signature"


async def test_with_a_public_url_the_host_of_a_request_does_not_matter(tmp_path: Path) -> None:
    async with line(tmp_path, allowed_hosts="bot.example.com") as running:
        assert (await running.post(headers={"Host": "10.0.0.9:8000"})).status == 200


@pytest.mark.parametrize("public_url", ["", "https://bot.example.com"])
async def test_the_start_says_which_names_are_taken(tmp_path: Path, public_url: str) -> None:
    told = Told()
    app = Offhook(
        worker="external", observers=[told], account_sid=ACCOUNT, auth_token=TOKEN,
        store=f"sqlite:///{tmp_path}/offhook.db", public_url=public_url,
        allowed_hosts="a.example.com, b.example.com",
    )  # fmt: skip
    async with app.lifespan():
        texts = [event.text for event in told.events if isinstance(event, Problem)]
    named = ["only for a.example.com, b.example.com (" in text for text in texts]
    assert named == [True] * (not public_url)


@pytest.mark.parametrize(
    "wrong", ["https://a.example", "a.example:80", "a.*.example", "*a", "::1", "a b", "a/b"]
)
def test_what_is_no_name_stops_the_start(wrong: str) -> None:
    with pytest.raises(SettingsError, match="OFFHOOK_ALLOWED_HOSTS: must be names of hosts"):
        settings(allowed_hosts=wrong)


async def test_metrics_are_not_shown_by_a_name_that_a_stranger_led_here() -> None:
    async def ready() -> bool:
        return True

    async def metrics(_accept: str) -> tuple[bytes, str]:
        return b"secret", "text/plain"

    async def status_of(path: str, host: str) -> tuple[int, Any]:
        app = admin_routes(ready=ready, metrics=metrics, hosts=HostNames(["bot.example.com"]))
        async with PlainAsyncClient(transport=httpx2.ASGITransport(app)) as client:
            answer = await client.get(f"http://127.0.0.1{path}", headers={"Host": host})
            assert ("secret" in answer.text) is (answer.status_code == 200 and path == "/metrics")
            return answer.status_code, answer.headers.get("x-offhook-error")

    for host in ("127.0.0.1:8001", "localhost", "10.0.0.5:8001", "[fd00::5]", "bot-1:8001"):
        assert await status_of("/metrics", host) == (200, None)
    assert await status_of("/metrics", "bot.example.com") == (200, None)
    for host in ("evil.example", "127.0.0.1.evil.example:8001", "bot.example.com.evil.example"):
        assert await status_of("/metrics", host) == (421, "host-not-allowed")
        assert await status_of("/healthz", host) == (200, None)
