import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import NamedTuple

import pytest

from offhook.dev.control import TEXTS, TOKEN_HEADER
from offhook.dev.session import Session, running
from offhook.errors import ConfigurationError
from offhook.stores.api import Filter
from offhook.web.local_only import is_loopback
from testing.commands import ECHO, Call, Home, Process, dev, is_alive, until
from testing.plain_http import PlainClient
from testing.stores import opened
from tests.cli.test_inbox import inbound
from tests.docs.json_fields import assert_documented


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@pytest.fixture
def call(home: Home, call_in: Callable[[Home], Call]) -> Call:
    return call_in(home)


BOT = """
from offhook import Message, Offhook

app = Offhook()

@app.message(where=lambda message: message.body == "say nothing")
async def listen() -> None: ...

@app.message(where=lambda message: message.body == "break", max_attempts=1)
async def fall() -> None:
    raise ValueError("no idea")

@app.message()
def answer(message: Message) -> list[str]:
    payload = message.button.payload if message.button else ""
    media = [one.url for one in message.media]
    said = f"payload {payload} body {message.body} media {media}"
    return [f"from {message.from_} to {message.to} {said}", "That is all"]
"""

_NUMBERS = count(1_240_000)


class Shared(NamedTuple):
    """An `offhook dev` that several tests use, each from numbers of its own."""

    home: Home
    process: Process


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shared]:
    """Return the home of a bot that says what it was sent, under `offhook dev`."""
    home = Home(tmp_path_factory.mktemp("shared"), BOT)
    with dev(home) as process:
        yield Shared(home, process)


@pytest.fixture
def beside(shared: Shared, call_in: Callable[[Home], Call]) -> Call:
    """Return a function that runs commands against the shared `offhook dev`."""
    return call_in(shared.home)


@pytest.fixture
def number() -> str:
    """Return a number that no other test uses."""
    return f"+1555{next(_NUMBERS)}"


def session(home: Home) -> Session:
    (only,) = sessions(home)
    return only


def sessions(home: Home) -> list[Session]:
    """Return the sessions whose process is alive; a killed one leaves its file behind."""
    files = sorted((home.runtime / "offhook").glob("dev-*.json"))
    assert all(file.stat().st_mode & 0o777 == 0o600 for file in files)
    return [one for one in map(Session.read, files) if one.is_alive()]


def steps(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_it_answers_reloads_after_a_change_waits_when_broken_and_ends_with_ctrl_c(
    home: Home, call: Call
) -> None:
    with dev(home, reload=True) as running:
        said = home.run("text", "hello")
        assert said.returncode == 0, said.stderr
        assert "acknowledged  200 in " in said.stdout
        assert "You said: hello" in said.stdout
        assert "handled once" in said.stdout
        running.wait_for("<- You said: hello")

        home.write_bot(ECHO.replace("You said", "You wrote"))
        running.wait_for("reloaded")
        assert "You wrote: hello" in call("text", "hello").stdout

        home.write_bot("import nowhere_to_be_found")
        running.wait_for("the next change restarts it")
        assert "nowhere_to_be_found" in running.output

        home.write_bot(ECHO.replace("You said", "You sang"))
        running.wait_for("reloaded", times=2)
        assert "You sang: hello" in call("text", "hello").stdout

        running.interrupt()
        assert running.exit_status() == 0
        assert "Traceback" not in running.output
    assert not list((home.runtime / "offhook").iterdir()), "the token is gone"
    assert (home.directory / ".offhook" / "dev.db").exists()
    assert not (home.directory / "offhook.db").exists()


def test_a_repeated_webhook_is_handled_once(beside: Call, number: str) -> None:
    said = beside("text", "hello", "--from", number, "--repeat", "3", "--json")
    acknowledged, replied, rest, settled = steps(said.stdout)
    assert acknowledged["status"] == 200
    assert acknowledged["repeats"] == [200, 200]
    assert " body hello " in str(replied["body"])
    assert rest["body"] == "That is all"
    assert settled == {"event": "settled", "state": "done", "attempts": 1, "error": ""}


def test_whatsapp_with_media_from_and_to_numbers_of_ones_own(beside: Call) -> None:
    said = beside(
        "text", "--from", "+4915112345678", "--to", "+15005550009", "--channel", "whatsapp",
        "--media", "https://example.com/cat.jpg",
    )  # fmt: skip
    assert "from whatsapp:+4915112345678 to whatsapp:+15005550009 " in said.stdout
    assert "media ['https://example.com/cat.jpg']" in said.stdout
    assert said.status == 0


def test_a_bot_that_says_nothing_has_no_reply(beside: Call, number: str) -> None:
    said = beside("text", "say nothing", "--from", number)
    assert said.stdout.splitlines()[-1] == "no reply"
    assert said.status == 1


def test_a_reply_that_is_refused_is_no_answer(beside: Call) -> None:
    sms, rcs = ("--from", "+15551230007"), ("--from", "+15551230008")
    assert beside("text", "hello", *sms).status == 0
    beside("text", "STOP", *sms)
    said = beside("text", "hello", *sms)
    assert "has opted out with STOP" in said.stdout
    assert said.status == 1
    beside("text", "STOP", "--channel", "rcs", "--param", "OptOutType=STOP", *rcs)
    said = beside("text", "hello", *rcs)
    assert "has opted out with STOP" in said.stdout, "RCS and SMS share opt-outs"


@pytest.mark.parametrize(
    ("options", "from_", "to"),
    [
        (("--channel", "rcs"), "rcs:+15551230001", "rcs:+15005550006"),
        (("--from", "rcs:+15551230001", "--to", "rcs:brand_agent"), "rcs:+15551230001", "rcs:br"),
        (("--from", "whatsapp:ID.4566546130240000"), "whatsapp:ID.4566546130240000", "whatsapp:+1"),
        (("--from", "US.13491208655302741918", "--channel", "whatsapp"), "whatsapp:US.1349", ""),
        (("--to", "12345"), "+15551230001", "12345"),
        (("--to", "MyBrand"), "+15551230001", "MyBrand"),
    ],
)
def test_people_and_bots_have_every_address_that_twilio_takes(
    beside: Call, options: tuple[str, ...], from_: str, to: str
) -> None:
    said = beside("text", "hi", *options)
    assert said.status == 0, said.stdout
    reply = said.stdout.splitlines()[1]
    assert f"from {from_}" in reply
    assert f"to {to}" in reply


@pytest.mark.parametrize(("sender", "code"), [("12345", "21265"), ("AMAZON", "21211")])
def test_who_can_not_be_answered_is_heard_all_the_same(
    beside: Call, sender: str, code: str
) -> None:
    said = beside("text", "hi", "--from", sender)
    assert said.status == 1
    assert "reply failed" in said.stdout
    (record,) = steps(beside("messages", "list", "--sender", sender, "--json").stdout)
    (shown,) = steps(beside("messages", "show", str(record["id"]), "--json").stdout)
    assert f"'error_code': '{code}'" in str(shown["sends"])


def test_parameters_are_added_and_changed(beside: Call) -> None:
    said = beside(
        "text", "--channel", "whatsapp", "--param", "ButtonPayload=a=b", "--param", "Body=pressed"
    )
    assert "payload a=b" in said.stdout
    assert "body pressed" in said.stdout
    assert beside("text", "hi", "--param", "nonsense").status == 2


def test_a_bot_that_fails_is_a_failure_and_the_reason_is_on_its_terminal(
    shared: Shared, beside: Call, number: str
) -> None:
    said = beside("text", "break", "--from", number, "--json")
    shared.process.wait_for("ValueError: no idea")
    assert [step["event"] for step in steps(said.stdout)] == [
        "acknowledged", "failed", "replied", "settled",
    ]  # fmt: skip
    for step in steps(said.stdout):
        assert_documented(f"`{step['event']}`", step)
    assert steps(said.stdout)[-1]["state"] == "dead"
    assert said.status == 1, "a notice is no answer"


def test_a_text_gives_up_waiting_and_says_so(home: Home, call: Call) -> None:
    home.write_bot("""
import asyncio
from offhook import Offhook

app = Offhook()

@app.message()
async def answer() -> None:
    await asyncio.Event().wait()
""")
    with dev(home) as running:
        said = call("text", "hello", "--timeout", "0.3")
        assert said.status == 1
        assert "No reply after" in said.stdout
        running.interrupt()
        assert running.exit_status() == 0, "a handler that hangs does not hold it up"


def test_metrics_are_for_this_machine(shared: Shared, beside: Call, number: str) -> None:
    url = f"{session(shared.home).url}/metrics"
    with PlainClient() as client:
        before = handled(client.get(url).text)
        assert beside("text", "hello", "--from", number).status == 0
        text = client.get(url).text
        assert 'offhook_store_messages{state="done"}' in text
        assert handled(text) == before + 1
        assert client.get(url, headers={"Host": "bot.example.com"}).status_code == 404
        assert client.get(url, headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 404


def handled(metrics: str) -> float:
    """Return how many runs of handlers ended well; the metric is not there before the first."""
    name = 'offhook_handler_runs_total{kind="message",trigger="complete"} '
    return sum(
        float(line.removeprefix(name)) for line in metrics.splitlines() if line.startswith(name)
    )


def test_the_control_api_is_for_who_knows_the_token_and_calls_this_machine_by_name(
    shared: Shared, beside: Call, number: str
) -> None:
    known = session(shared.home)
    url, order = known.url + TEXTS, {"body": "hello", "from_": number}
    token = {TOKEN_HEADER: known.token}
    foreign = {**token, "Host": "bot.example.com"}
    with PlainClient() as client:
        assert client.post(url, json=order).status_code == 403
        assert client.post(url, json=order, headers={TOKEN_HEADER: "x"}).status_code == 403
        assert client.post(url, json=order, headers=foreign).status_code == 403
        assert client.post(url, json={**order, "repeat": 0}, headers=token).status_code == 400
        assert client.post(url, json=order, headers=token).status_code == 200
    listed = beside("messages", "list", "--sender", number, "--json")
    assert len(listed.stdout.splitlines()) == 1


@pytest.mark.parametrize(
    ("host", "answer"),
    [
        ("localhost:8000", True),
        ("localhost", True),
        ("127.0.0.1:8000", True),
        ("[::1]:8000", True),
        ("[::1]", True),
        ("", False),
        ("bot.example.com", False),
        ("localhost.example.com:8000", False),
        ("127.0.0.1.example.com", False),
        ("localhost:8000@example.com", False),
    ],
)
def test_names_of_this_machine(host: str, answer: bool) -> None:
    assert is_loopback(host) is answer


def test_two_in_one_folder_are_told_apart_by_their_ports_and_do_not_share_a_store(
    shared: Shared, beside: Call, number: str
) -> None:
    sender = ("--sender", number)
    with dev(shared.home) as second:
        unclear = beside("text", "hello")
        assert unclear.status == 1
        assert all(str(one.port) in unclear.stderr for one in sessions(shared.home))
        processes = {process.pid: process for process in (shared.process, second)}
        for one in sessions(shared.home):
            text = f"to {one.port}"
            said = beside("text", text, "--from", number, "--port", str(one.port))
            assert said.status == 0
            processes[one.pid].wait_for(f"body {text} ")
            assert sum(f"body {text} " in process.output for process in processes.values()) == 1
        stores = ["sqlite:///.offhook/dev.db", "sqlite:///.offhook/dev-2.db"]
        for store in stores:
            listed = beside("messages", "list", *sender, "--json", "--store", store)
            assert len(listed.stdout.splitlines()) == 1
        unclear = beside("messages", "list")
        assert unclear.status == 1
        assert all(Path(store).name in unclear.stderr for store in stores)
    with dev(shared.home):  # what was there before is taken up again
        assert not (shared.home.directory / ".offhook" / "dev-3.db").exists()


def test_the_messages_and_the_account_of_production_are_not_touched(
    home: Home, call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Production's waiting messages were handled here, and their replies failed for ever."""
    production = f"sqlite:///{home.directory}/production.db"
    spool = f"sqlite:///{home.directory}/spool.db"
    asyncio.run(put_by(production, "SM1"))
    asyncio.run(put_by(spool, "SM2"))  # as an earlier version kept it
    (home.directory / ".env").write_text(
        f"TWILIO_ACCOUNT_SID={'AC' + '1' * 32}\nTWILIO_AUTH_TOKEN=real\n"
        f"OFFHOOK_STORE={production}\nOFFHOOK_SPOOL={spool}\n"
        "OFFHOOK_CACHE=redis://127.0.0.1:1/0\nOFFHOOK_STORE_DIRECT=postgresql://127.0.0.1:1/x\n"
    )
    with dev(
        home,
        reload=True,
        OFFHOOK_PUBLIC_URL="https://bot.example.com",
        OFFHOOK_TWILIO_API="https://api.twilio.com",
    ) as running:
        ignored = "OFFHOOK_CACHE, OFFHOOK_PUBLIC_URL, OFFHOOK_SPOOL, OFFHOOK_STORE, TWILIO_ACCOUNT"
        assert f"not used here: {ignored}" in " ".join(running.output.split())
        monkeypatch.setenv("TWILIO_AUTH_TOKEN", "real")
        assert "You said: hello" in call("text", "hello").stdout
        # Beside it, commands go where they are told, and say how its own store is named.
        listed = call("messages", "list", "--json")
        assert [(one["sid"], one["state"]) for one in steps(listed.stdout)] == [("SM1", "open")]
        assert (
            "for the store of `offhook dev`, add --store sqlite:///.offhook/dev.db" in listed.stderr
        )
        own = call("messages", "list", "--json", "--store", "sqlite:///.offhook/dev.db")
        assert [one["state"] for one in steps(own.stdout)] == ["done"]
        assert "cache" not in running.output.lower().replace("offhook_cache", "")
    assert asyncio.run(count_in(spool)) == 1


def test_commands_beside_it_find_its_store(home: Home, call: Call) -> None:
    with dev(home):
        call("text", "hello")
        _, shown, complaint = call("messages", "list", "--json")
        assert (len(shown.splitlines()), complaint) == (1, "")
        _, one, complaint = call("messages", "show", "1", "--json")
        assert (len(one.splitlines()), complaint) == (1, "")
        assert "webhooks done" in call("stats").stdout
    ended = call("stats")
    assert ended.status == 1
    assert "`offhook dev` has left one: --store sqlite:///.offhook/dev.db" in ended.stderr
    assert call("stats", "--store", "sqlite:///.offhook/dev.db").status == 0


async def put_by(url: str, sid: str) -> None:
    async with opened(url) as store:
        await store.accept(inbound(sid, "+15551230009", "hello"))


async def count_in(url: str) -> int:
    async with opened(url) as store:
        return len(await store.find(Filter()))


def test_the_child_of_a_killed_one_ends_and_what_it_left_behind_is_cleared_away(
    home: Home, call: Call
) -> None:
    with dev(home, reload=True) as running:
        (child,) = running.children("dev.child")
        left = list((home.runtime / "offhook").iterdir())
        running.send(signal.SIGKILL)
        until(lambda: not is_alive(child))
    assert left[0].exists()
    assert "no offhook dev is running" in call("text", "hello").stderr
    assert not left[0].exists()


def test_a_runtime_directory_that_others_can_write_is_refused(home: Home) -> None:
    (home.runtime / "offhook").mkdir(mode=0o700)
    (home.runtime / "offhook").chmod(0o777)
    refused = home.run("dev", "bot:app", "--port", "0")
    assert refused.returncode == 1
    assert "must be yours alone" in refused.stderr


def test_a_url_is_posted_to_signed(
    shared: Shared, beside: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What `--url` posts is taken by a webhook with the same token, and by no other."""
    known = session(shared.home)
    url = f"{known.url}/twilio/messages?a=1#rc=2"
    monkeypatch.setenv("TWILIO_AUTH_TOKEN", known.auth_token)
    said = beside("text", "hello", "--url", url, "--repeat", "2", "--json")
    assert said.status == 0, said.stderr
    first, second = steps(said.stdout)
    assert first["sid"] == second["sid"]
    assert first["status"] == second["status"] == 200

    monkeypatch.setenv("TWILIO_AUTH_TOKEN", "another")
    refused = beside("text", "hello", "--url", known.url)
    assert refused.status == 1
    assert "HTTP 403 signature-mismatch" in refused.stdout
    assert "TWILIO_AUTH_TOKEN" in refused.stdout
    assert "OFFHOOK_PUBLIC_URL" in refused.stdout

    refused = beside("text", "hello", "--url", known.url, "--json")
    assert [step["reason"] for step in steps(refused.stdout)] == ["signature-mismatch"]


BUSY = """
from offhook import Message, Offhook, RetryLater

app = Offhook()


@app.message()
async def answer(message: Message) -> str:
    raise RetryLater(900)
"""


def test_what_waits_is_tried_at_once_after_a_reload_and_when_it_is_asked_for(
    home: Home, call: Call
) -> None:
    """Invariant: a mended bot, or an operator, need not wait for the next attempt's time."""
    home.write_bot(BUSY)
    with dev(home, reload=True) as running:
        known = session(home)
        with PlainClient(base_url=known.url) as client:
            for body in ("one", "two"):
                order = {"body": body, "timeout": 0.1}
                client.post(TEXTS, json=order, headers={TOKEN_HEADER: known.token})
        running.wait_for("attempt=1")
        shown = call("messages", "show", "1", "2").stdout
        assert "next attempt (at once with: offhook messages replay)" in shown
        assert "behind message 1: its next attempt is in 14 min" in shown
        refused = call("messages", "replay", "2")
        assert refused.status == 1
        assert "2 not replayed: it waits behind message 1: its next attempt is in" in refused.stdout

        assert call("messages", "replay", "1").stdout == "1 replayed\n"
        running.wait_for("attempt=2")

        home.write_bot(ECHO)
        running.wait_for("<- You said: one")
        running.wait_for("<- You said: two")


def test_a_session_that_ends_while_it_is_looked_for_is_no_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    file = tmp_path / "offhook" / "dev-8000.json"
    file.parent.mkdir(mode=0o700)
    file.symlink_to("gone")  # it is listed, and then not there, as one that was removed just then
    assert running() == []
    file.unlink()
    file.write_text("{")
    with pytest.raises(ConfigurationError, match="can't be read"):
        running()
