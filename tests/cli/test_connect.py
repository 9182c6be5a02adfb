"""`offhook connect` against the simulated Twilio, over real HTTP."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.commands import Call, Home
from testing.ports import free_port
from testing.twilio.background import Twilio, twilio
from testing.twilio.line import CREDENTIALS
from tests.cli.terminal import CTRL_C, CTRL_D, on_a_terminal
from tests.docs.json_fields import assert_documented

NUMBER = "+15005550006"
OVERRIDES = "#rc=5&rp=5xx,ct,rt"
DEMO = "https://demo.twilio.com/welcome/sms/reply"


@pytest.fixture(scope="module")
def shared() -> Iterator[Twilio]:
    with twilio() as running:
        yield running


@pytest.fixture
def line(shared: Twilio, monkeypatch: pytest.MonkeyPatch) -> Twilio:
    """Return a simulator with one number, as it was bought."""
    shared.webhook.requests.clear()
    account = shared.sim.account
    for records in (account.numbers, account.services, account.senders):
        records.clear()
    account.has_senders_api = True
    account.add_number(NUMBER)
    shared.sim.webhook_url = DEMO
    for name, value in environment(shared).items():
        monkeypatch.setenv(name, value)
    return shared


def environment(running: Twilio) -> dict[str, str]:
    return {
        "TWILIO_ACCOUNT_SID": CREDENTIALS.account_sid,
        "TWILIO_AUTH_TOKEN": CREDENTIALS.auth_token,
        "OFFHOOK_TWILIO_API": running.url,
        "OFFHOOK_PUBLIC_URL": running.hooks,
    }


def expected(line: Twilio) -> str:
    return f"{line.hooks}/twilio/messages{OVERRIDES}"


def objects(text: str) -> list[dict[str, Any]]:
    return [json.loads(one) for one in text.splitlines()]


def test_a_number_is_shown_and_nothing_is_changed(call: Call, line: Twilio) -> None:
    shown = call("connect", "--number", NUMBER)
    assert shown.status == 1
    assert DEMO in shown.stdout
    assert f"should be {expected(line)}" in shown.stdout
    assert CREDENTIALS.auth_token not in shown.stdout
    assert "\x1b" not in shown.stdout
    assert "is not reachable by Twilio" in shown.stderr
    assert line.sim.webhook_url == DEMO


def test_a_number_is_connected_and_a_message_arrives(call: Call, line: Twilio) -> None:
    assert call("connect", "--number", NUMBER, "--apply").status == 0
    assert (line.sim.webhook_url, line.sim.fallback_url) == (expected(line), expected(line))
    assert line.run(line.sim.text("hello")).status == 200
    assert [request.target for request in line.webhook.requests] == ["/twilio/messages"]
    again = call("connect", "--number", NUMBER)
    assert (again.status, again.stderr) == (0, "")
    assert "Connected: write" in again.stdout


def test_scripts_read_what_differs(call: Call, line: Twilio) -> None:
    (found,) = objects(call("connect", "--number", NUMBER, "--json").stdout)
    assert (found["kind"], found["connected"], found["state"]) == ("number", False, "elsewhere")
    assert found["differences"][0] == {
        "what": "webhook",
        "now": DEMO,
        "expected": expected(line),
    }
    before, after = objects(call("connect", "--number", NUMBER, "--json", "--apply").stdout)
    assert (before["changed"], after["changed"]) == (False, True)
    for one in (found, before, after):
        assert_documented("`offhook connect`", one, "`--number`, `--service`")
    assert (after["connected"], after["differences"]) == (True, [])


def test_a_fallback_of_ones_own_stays(call: Call, line: Twilio) -> None:
    line.sim.fallback_url = "https://sorry.example.com/"
    assert call("connect", "--number", NUMBER, "--apply").status == 0
    assert line.sim.fallback_url == "https://sorry.example.com/"
    other = "https://other.example.com/twilio/messages"
    assert call("connect", "--number", NUMBER, "--apply", "--fallback", other).status == 0
    assert line.sim.fallback_url == other


def test_another_webhooks_password_is_not_shown(call: Call, line: Twilio) -> None:
    line.sim.webhook_url = "https://user:geheim@other.example.com/sms"
    for arguments in ((), ("--json",), ("--number", NUMBER), ("--number", NUMBER, "--json")):
        shown = call("connect", *arguments).stdout
        assert "https://***@other.example.com/sms" in shown
        assert "geheim" not in shown


def test_a_twiml_application_is_taken_out_of_the_way(call: Call, line: Twilio) -> None:
    record = line.sim.account.number(NUMBER)
    assert record is not None
    record["sms_application_sid"] = "AP1"
    shown = call("connect")
    assert "decided by AP1" in shown.stdout
    assert call("connect", "--number", NUMBER, "--apply").status == 0
    assert record["sms_application_sid"] == ""


def test_a_number_that_a_service_decides_for_is_left_alone(call: Call, line: Twilio) -> None:
    service = line.sim.account.add_service(name="Bots", numbers=(NUMBER,))["sid"]
    shown = call("connect", "--number", NUMBER, "--apply")
    assert shown.status == 1
    assert f"offhook connect --service {service}" in shown.stdout
    assert "should be" not in shown.stdout
    record = line.sim.account.number(NUMBER)
    assert record is not None
    assert record["sms_url"] == DEMO
    assert call("connect", "--service", service, "--apply", "--statuses").status == 0
    assert line.sim.webhook_url == expected(line)
    assert line.sim.account.services[service]["status_callback"] == f"{line.hooks}/twilio/status"
    assert call("connect", "--service", service).status == 0


def test_a_service_that_leaves_it_to_its_numbers(call: Call, line: Twilio) -> None:
    service = line.sim.account.add_service(numbers=(NUMBER,))
    service["use_inbound_webhook_on_number"] = True
    assert "left to its numbers" in call("connect").stdout
    assert call("connect", "--number", NUMBER, "--apply").status == 0
    assert line.sim.webhook_url == expected(line)
    assert call("connect", "--service", service["sid"]).status == 1
    assert call("connect", "--service", service["sid"], "--apply").status == 0
    assert service["use_inbound_webhook_on_number"] is False


def test_a_whatsapp_sender(call: Call, line: Twilio) -> None:
    sender = line.sim.account.add_sender(NUMBER)
    address = f"whatsapp:{NUMBER}"
    assert call("connect", "--number", address, "--apply").status == 0
    assert sender["webhook"]["callback_url"] == expected(line)
    assert line.run(line.sim.text("hello", channel="whatsapp")).status == 200


def test_where_senders_can_not_be_set_by_rest_the_words_to_click_are_said(
    call: Call, line: Twilio
) -> None:
    line.sim.account.has_senders_api = False
    for ended, status in (
        (call("connect"), 0),
        (call("connect", "--number", f"whatsapp:{NUMBER}", "--apply"), 1),
    ):
        assert ended.status == status
        assert "WhatsApp senders, the sender" in ended.stderr
        assert expected(line) in ended.stderr
    assert NUMBER in call("connect").stdout


def test_everything_is_listed(call: Call, line: Twilio) -> None:
    for n in range(120):
        line.sim.account.add_number(f"+1500556{n:04}")
    line.sim.account.add_service(name="Bots")
    line.sim.account.add_sender(NUMBER)
    shown = call("connect")
    assert shown.status == 0
    assert shown.stdout.count("+1500556") == 120
    assert "Sandbox settings" in shown.stdout
    found = objects(call("connect", "--json").stdout)
    assert len(found) == 123
    assert {one["kind"] for one in found} == {"number", "service", "whatsapp"}


@pytest.mark.parametrize(
    ("arguments", "variables", "said"),
    [
        ((), {"TWILIO_AUTH_TOKEN": "f" * 32}, "rejected these credentials"),
        (("--number", "+15005559999"), {}, "has no +15005559999"),
        (("--service", "MG1"), {}, "has no Messaging Service MG1"),
        (("--number", NUMBER, "--apply", "--fallback", "x"), {}, "Twilio's error 21502"),
        ((), {"OFFHOOK_PUBLIC_URL": ""}, "OFFHOOK_PUBLIC_URL must be set"),
        ((), {"OFFHOOK_TWILIO_API": f"http://127.0.0.1:{free_port()}"}, "was not reached"),
    ],
)
def test_what_goes_wrong_is_said_in_a_line(
    call: Call,
    line: Twilio,
    monkeypatch: pytest.MonkeyPatch,
    *,
    arguments: tuple[str, ...],
    variables: dict[str, str],
    said: str,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    ended = call("connect", *arguments)
    assert ended.status == 1
    assert said in ended.stderr
    assert "Traceback" not in ended.stderr
    assert line.sim.webhook_url == DEMO


@pytest.mark.parametrize(
    "arguments",
    [("--apply",), ("--number", NUMBER, "--service", "MG1"), ("--service", NUMBER)],
)
def test_wrong_usage(call: Call, line: Twilio, arguments: tuple[str, ...]) -> None:
    assert call("connect", *arguments).status == 2


@pytest.mark.parametrize(
    ("answer", "is_set"), [("n\n", False), ("y\n", True), (CTRL_C, False), (CTRL_D, False)]
)
def test_on_a_terminal_it_asks(tmp_path: Path, line: Twilio, answer: str, is_set: bool) -> None:
    with on_a_terminal(Home(tmp_path), "connect", "--number", NUMBER) as terminal:
        terminal.until_shown("Set this at Twilio?")
        terminal.type(answer)
        assert terminal.end(again=answer) == (0 if is_set else 1)
    assert (line.sim.webhook_url == expected(line)) is is_set
