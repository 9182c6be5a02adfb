"""What the doctor finds at the public URL and at the simulated Twilio, over real HTTP."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from offhook.doctor import (
    Finding,
    Findings,
    Severity,
    public_url,
    servers,
    twilio_account,
)
from offhook.doctor.finding import Check
from offhook.settings import Settings
from offhook.twilio.simulator import Simulator
from offhook.twilio.simulator.serving import serving
from offhook.web.health import Health
from testing.commands import Call
from testing.nginx import Forwarding, nginx
from testing.ports import free_port
from testing.twilio.background import Twilio, twilio
from testing.twilio.helpers import Webhook
from testing.twilio.line import CREDENTIALS
from testing.valkey import valkey
from testing.webhooks import line

OVERRIDES = "#rc=5&rp=5xx,ct,rt"
SECOND = Simulator.credentials().auth_token
BOTH = f"{CREDENTIALS.auth_token},{SECOND}"
NUMBER = "+15005550006"


def settings(**given: object) -> Settings:
    known = {"account_sid": CREDENTIALS.account_sid, "auth_token": CREDENTIALS.auth_token}
    return Settings.load(env_file=None, **(known | given))


def look(check: Check, chosen: Settings) -> Findings:
    return asyncio.run(check(chosen))


def by_subject(findings: Findings) -> dict[str, Finding]:
    return {finding.subject: finding for finding in findings}


# The public URL


async def test_a_bot_that_is_there_and_refuses_strangers(tmp_path: Path) -> None:
    async with line(tmp_path, **own()) as running:
        found = await public_url.webhook(settings(public_url=running.base))
        assert [one.severity for one in found] == [Severity.OK, Severity.OK]
        assert await running.stored() == []


async def test_a_bot_that_takes_what_is_not_signed(tmp_path: Path) -> None:
    async with line(tmp_path, **own(signature="off")) as running:
        (finding,) = await public_url.webhook(settings(public_url=running.base, signature="off"))
        assert (finding.severity, "accepts unsigned requests" in finding.text) == (
            Severity.WARN,
            True,
        )
        (finding,) = await public_url.webhook(settings(public_url=running.base))
        assert (finding.severity, "missing-message-sid" in finding.text) == (Severity.FAIL, True)
        assert await running.stored() == []


def own(**given: Any) -> dict[str, Any]:
    """Return settings of a bot that takes the request's own URL for its public one."""
    known = {"account_sid": CREDENTIALS.account_sid, "auth_token": CREDENTIALS.auth_token}
    return known | {"public_url": ""} | given


@pytest.mark.parametrize(
    "theirs",
    [{"auth_token": "f" * 32}, {"public_url": "https://old.example.com"}],
)
async def test_a_bot_with_other_settings_than_here(tmp_path: Path, theirs: dict[str, str]) -> None:
    async with line(tmp_path, **own(**theirs)) as running:
        found = by_subject(await public_url.webhook(settings(public_url=running.base)))
        assert found["webhook"].severity is Severity.OK
        assert found["signature"].severity is Severity.FAIL
        assert "signature-mismatch" in found["signature"].text


@pytest.mark.parametrize(
    ("answer", "headers", "said"),
    [
        ((200, "text/html", b"hello"), {}, "not from offhook"),
        ((404, "text/html", b""), {}, "not from offhook"),
        ((502, "text/html", b""), {}, "the proxy cannot reach offhook"),
        ((301, "text/html", b""), {"location": "https://www.example.com/"}, "a redirect to"),
        ((404, "text/xml", b""), {"x-offhook-error": "not-found"}, "not at this path"),
        ((503, "text/xml", b""), {"x-offhook-error": "no-auth-token"}, "has no auth token"),
        ((503, "text/xml", b""), {"x-offhook-error": "store-unavailable"}, "store-unavailable"),
    ],
)
async def test_somebody_else_at_the_public_url(
    answer: tuple[int, str, bytes], headers: dict[str, str], said: str
) -> None:
    webhook = Webhook(answers=[answer], headers=headers)
    async with serving(webhook, host="127.0.0.1", port=0) as base:
        (finding,) = await public_url.webhook(settings(public_url=base))
        assert finding.severity is Severity.FAIL
        assert said in finding.text
        assert finding.remedy


async def test_a_proxy_that_leads_the_webhook_elsewhere(tmp_path: Path) -> None:
    async def elsewhere(scope: Scope, receive: Receive, send: Send) -> None:
        await (Health() if scope["path"] == "/healthz" else Webhook())(scope, receive, send)

    async with serving(elsewhere, host="127.0.0.1", port=0) as base:
        (finding,) = await public_url.webhook(settings(public_url=base))
        assert finding.text.endswith("not from offhook, which answers /healthz")


def test_nobody_at_the_public_url() -> None:
    (finding,) = look(public_url.webhook, settings(public_url=f"http://127.0.0.1:{free_port()}"))
    assert (finding.severity, "cannot be reached from here" in finding.text) == (
        Severity.FAIL,
        True,
    )


def test_a_certificate_that_nobody_signed(tmp_path: Path) -> None:
    with nginx(tmp_path, free_port()) as proxy:
        port = proxy.ports["https", Forwarding.SETS]
        (finding,) = look(public_url.webhook, settings(public_url=f"https://localhost:{port}"))
    assert "its certificate cannot be verified" in finding.text


async def test_which_of_two_tokens_the_server_takes(tmp_path: Path) -> None:
    async with line(tmp_path, **own(auth_token=BOTH)) as running:
        chosen = settings(public_url=running.base, auth_token=BOTH)
        found = by_subject(await public_url.webhook(chosen))["signature"]
        assert (found.severity, "each of the 2 tokens" in found.text) == (Severity.OK, True)
        chosen = settings(public_url=running.base, auth_token=f"{BOTH},a-third")
        found = by_subject(await public_url.webhook(chosen))["signature"]
        assert (found.severity, "with token 3" in found.text) == (Severity.FAIL, True)
        assert await running.stored() == []


# The account at Twilio


@pytest.fixture(scope="module")
def shared() -> Iterator[Twilio]:
    with twilio(secondary_auth_token=SECOND) as running:
        yield running


@pytest.mark.parametrize(
    ("tokens", "severity", "said"),
    [
        (CREDENTIALS.auth_token, Severity.OK, "Twilio accepts it"),
        (BOTH, Severity.OK, "Twilio accepts all 2"),
        ("f" * 32, Severity.FAIL, "does not accept TWILIO_AUTH_TOKEN"),
        (f"{CREDENTIALS.auth_token},{'f' * 32}", Severity.WARN, "does not accept token 2 of 2"),
        (f"{'f' * 32},{CREDENTIALS.auth_token}", Severity.FAIL, "does not accept token 1 of 2"),
    ],
    # The token is another one in each process that collects tests; their names must not be.
    ids=["its own", "both", "a stranger's", "a stranger's second", "a stranger's first"],
)
def test_the_tokens_twilio_knows(
    shared: Twilio, tokens: str, severity: Severity, said: str
) -> None:
    (finding,) = look(twilio_account.tokens, settings(auth_token=tokens, twilio_api=shared.url))
    assert finding.severity is severity
    assert said in finding.text


CHECKS: tuple[Check, ...] = (
    twilio_account.tokens,
    twilio_account.connections,
    twilio_account.alerts,
)


@pytest.mark.parametrize("check", CHECKS)
def test_when_twilio_is_not_reached(check: Check) -> None:
    away = settings(public_url="https://a.example", twilio_api=f"http://127.0.0.1:{free_port()}")
    (finding,) = look(check, away)
    assert (finding.severity, "was not reached" in finding.text) == (Severity.WARN, True)


@pytest.mark.parametrize("check", CHECKS[1:])
def test_when_twilio_refuses(shared: Twilio, check: Check) -> None:
    wrong = settings(public_url="https://a.example", twilio_api=shared.url, auth_token="f" * 32)
    (finding,) = look(check, wrong)
    assert (finding.severity, "20003" in finding.text) == (Severity.FAIL, True)


def test_what_twilio_calls() -> None:
    here = "https://bot.example.com"
    with twilio(webhook_url="https://other.example.com/") as running:
        chosen = settings(public_url=here, twilio_api=running.url)
        (finding,) = look(twilio_account.connections, chosen)
        assert (finding.severity, "none of the 1" in finding.text) == (Severity.WARN, True)
        running.sim.webhook_url = f"{here}/twilio/messages"
        (finding,) = look(twilio_account.connections, chosen)
        assert "differs in: webhook, fallback" in finding.text
        assert f"offhook connect --number {NUMBER}" in finding.remedy
        url = f"{here}/twilio/messages{OVERRIDES}"
        running.sim.webhook_url = running.sim.fallback_url = url
        (finding,) = look(twilio_account.connections, chosen)
        assert (finding.severity, finding.text) == (
            Severity.OK,
            "1 of 1 at Twilio are configured as expected",
        )


def test_what_twilio_says_went_wrong() -> None:
    with twilio() as running:
        chosen = settings(public_url=running.hooks, twilio_api=running.url)
        assert look(twilio_account.alerts, chosen)[0].severity is Severity.OK
        running.webhook.answers = [(500, "text/plain", b"no")]
        running.sim.webhook_url = f"{running.hooks}/twilio/messages"
        for _ in range(3):
            running.run(running.sim.text("hello"))
        running.sim.webhook_url = f"http://localhost:{free_port()}/somebody-elses"
        running.run(running.sim.text("hello"))
        (finding,) = look(twilio_account.alerts, chosen)
        assert (finding.severity, "11200, 3 times" in finding.text) == (Severity.WARN, True)
        assert "answered 4xx or 5xx" in finding.remedy


# The cache


def test_redis_that_answers_and_redis_that_does_not(tmp_path: Path) -> None:
    with valkey(tmp_path / "valkey") as server:
        chosen = settings(cache=server.url)
        assert look(servers.redis, chosen)[0].text.startswith("Redis answers in")
        server.kill()
        assert look(servers.redis, chosen)[0].severity is Severity.WARN
    assert look(servers.redis, settings()) == []


@asynccontextmanager
async def far_away(port: int) -> AsyncIterator[int]:
    """Yield a port that leads to another, 30 ms away."""

    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, asks = await asyncio.open_connection("127.0.0.1", port)
        while data := await reader.read(65536):
            await asyncio.sleep(0.03)
            asks.write(data)
            writer.write(await answers.read(65536))
        asks.close()
        writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


async def test_a_redis_that_is_too_far_away(tmp_path: Path) -> None:
    with valkey(tmp_path / "valkey") as server:
        real = server.port
        async with far_away(real) as port:
            (finding,) = await servers.redis(settings(cache=f"redis://127.0.0.1:{port}/0"))
            assert (finding.severity, finding.remedy[:13]) == (Severity.WARN, "Use a nearer ")


# The command


def test_all_of_it(call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
    with twilio() as running:
        for name, value in {
            "TWILIO_ACCOUNT_SID": CREDENTIALS.account_sid,
            "TWILIO_AUTH_TOKEN": CREDENTIALS.auth_token,
            "OFFHOOK_PUBLIC_URL": running.hooks,
            "OFFHOOK_TWILIO_API": running.url,
        }.items():
            monkeypatch.setenv(name, value)
        shown = call("doctor", "--json")
        asked = len(running.webhook.requests)
        assert call("doctor", "--offline").status == 1
        assert len(running.webhook.requests) == asked > 0
    subjects = {json.loads(one)["subject"] for one in shown.stdout.splitlines()}
    assert {"webhook", "auth token", "connections", "alerts"} <= subjects
    assert CREDENTIALS.auth_token not in shown.stdout
