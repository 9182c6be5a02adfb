import asyncio
import json
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx2
import pytest

from offhook.arrivals.log import open_spool
from offhook.dev.control import TEXTS, TOKEN_HEADER
from offhook.dev.session import Session
from offhook.stores import open_store
from offhook.stores.api import Spool, Store
from offhook.web.local_only import is_loopback
from testing.commands import ECHO, Home, dev, is_alive, until
from testing.spools import keep
from tests.cli.test_inbox import inbound


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def session(home: Home) -> Session:
    (file,) = (home.runtime / "offhook").glob("dev-*.json")
    assert file.stat().st_mode & 0o777 == 0o600
    return Session.read(file)


def steps(output: str) -> list[dict[str, object]]:
    return [json.loads(line) for line in output.splitlines()]


def test_a_text_is_acknowledged_and_answered(home: Home) -> None:
    with dev(home, reload=True) as running:
        said = home.run("text", "hello")
        assert said.returncode == 0, said.stderr
        assert "acknowledged  200 in " in said.stdout
        assert "You said: hello" in said.stdout
        assert "handled once" in said.stdout
        running.wait_for("<- You said: hello")

        running.interrupt()
        assert running.exit_status() == 0
        assert "Traceback" not in running.output
    assert not list((home.runtime / "offhook").iterdir()), "the token is gone"
    assert (home.directory / ".offhook" / "dev.db").exists()
    assert not (home.directory / "offhook.db").exists()


def test_a_repeated_webhook_is_handled_once(home: Home) -> None:
    with dev(home):
        said = home.run("text", "hello", "--repeat", "3", "--json")
    acknowledged, replied, settled = steps(said.stdout)
    assert acknowledged["status"] == 200
    assert acknowledged["repeats"] == [200, 200]
    assert replied["body"] == "You said: hello"
    assert settled == {"event": "settled", "state": "done", "attempts": 1, "error": ""}


def test_whatsapp_with_media_from_and_to_numbers_of_ones_own(home: Home) -> None:
    home.write_bot("""
from offhook import Message, Offhook

app = Offhook()

@app.message()
def answer(message: Message) -> str:
    return " ".join([message.from_, message.to, message.media[0].url])
""")
    with dev(home):
        said = home.run(
            "text", "--from", "+4915112345678", "--to", "+15005550009", "--channel", "whatsapp",
            "--media", "https://example.com/cat.jpg",
        )  # fmt: skip
    wanted = "whatsapp:+4915112345678 whatsapp:+15005550009 https://example.com/cat.jpg"
    assert wanted in said.stdout
    assert said.returncode == 0


def test_a_bot_that_says_nothing_has_no_reply(home: Home) -> None:
    home.write_bot("""
from offhook import Offhook

app = Offhook()

@app.message()
async def listen() -> None: ...
""")
    with dev(home):
        said = home.run("text", "hello")
    assert said.stdout.splitlines()[-1] == "no reply"
    assert said.returncode == 1


def test_a_reply_that_is_refused_is_no_answer(home: Home) -> None:
    home.write_bot("""
from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> list[str]:
    return ["one", "two"]
""")
    with dev(home):
        assert home.run("text", "hello").returncode == 0
        home.run("text", "STOP")
        said = home.run("text", "hello")
        assert "has opted out with STOP" in said.stdout
        assert said.returncode == 1
        stop = ("text", "STOP", "--channel", "rcs", "--param", "OptOutType=STOP")
        home.run(*stop, "--from", "+15551230008")
        said = home.run("text", "hello", "--from", "+15551230008")
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
    shared: Home, options: tuple[str, ...], from_: str, to: str
) -> None:
    said = shared.run("text", "hi", *options)
    assert said.returncode == 0, said.stdout
    reply = said.stdout.splitlines()[1]
    assert f"from {from_}" in reply
    assert f"to {to}" in reply


@pytest.mark.parametrize(("sender", "code"), [("12345", "21265"), ("AMAZON", "21211")])
def test_who_can_not_be_answered_is_heard_all_the_same(
    shared: Home, sender: str, code: str
) -> None:
    said = shared.run("text", "hi", "--from", sender)
    assert said.returncode == 1
    assert "reply failed" in said.stdout
    listed = shared.run("messages", "list", "--sender", sender, "--json")
    (record,) = steps(listed.stdout)
    (shown,) = steps(shared.run("messages", "show", str(record["id"]), "--json").stdout)
    assert f"'error_code': '{code}'" in str(shown["sends"])


def test_parameters_are_added_and_changed(shared: Home) -> None:
    said = shared.run(
        "text", "--channel", "whatsapp", "--param", "ButtonPayload=a=b", "--param", "Body=pressed"
    )
    assert "payload a=b" in said.stdout
    assert "body pressed" in said.stdout
    assert shared.run("text", "hi", "--param", "nonsense").returncode == 2


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Return the home of a bot that says what it was sent, under `offhook dev`."""
    home = Home(
        tmp_path_factory.mktemp("shared"),
        """
from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> str:
    payload = message.button.payload if message.button else ""
    return f"from {message.from_} to {message.to} payload {payload} body {message.body}"
""",
    )
    with dev(home):
        yield home


def test_a_bot_that_fails_is_a_failure_and_the_reason_is_on_its_terminal(home: Home) -> None:
    home.write_bot("""
from offhook import Offhook

app = Offhook()

@app.message(max_attempts=1)
async def answer() -> None:
    raise ValueError("no idea")
""")
    with dev(home) as running:
        said = home.run("text", "hello", "--json")
        running.wait_for("ValueError: no idea")
    assert [step["event"] for step in steps(said.stdout)] == [
        "acknowledged", "failed", "replied", "settled",
    ]  # fmt: skip
    assert steps(said.stdout)[-1]["state"] == "dead"
    assert said.returncode == 1, "a notice is no answer"


def test_a_text_gives_up_waiting_and_says_so(home: Home) -> None:
    home.write_bot("""
import asyncio
from offhook import Offhook

app = Offhook()

@app.message()
async def answer() -> None:
    await asyncio.Event().wait()
""")
    with dev(home) as running:
        said = home.run("text", "hello", "--timeout", "0.3")
        assert said.returncode == 1
        assert "No reply after" in said.stdout
        running.interrupt()
        assert running.exit_status() == 0, "a handler that hangs does not hold it up"


def test_a_change_reloads_and_what_is_broken_waits_for_the_next(home: Home) -> None:
    with dev(home, reload=True) as running:
        home.write_bot(ECHO.replace("You said", "You wrote"))
        running.wait_for("reloaded")
        assert "You wrote: hello" in home.run("text", "hello").stdout

        home.write_bot("import nowhere_to_be_found")
        running.wait_for("the next change restarts it")
        assert "nowhere_to_be_found" in running.output

        home.write_bot(ECHO.replace("You said", "You sang"))
        running.wait_for("reloaded", times=2)
        assert "You sang: hello" in home.run("text", "hello").stdout


def test_real_credentials_are_ignored(home: Home) -> None:
    with dev(
        home,
        TWILIO_ACCOUNT_SID="AC" + "1" * 32,
        TWILIO_AUTH_TOKEN="real",
        OFFHOOK_PUBLIC_URL="https://bot.example.com",
        OFFHOOK_TWILIO_API="https://api.twilio.com",
    ) as running:
        assert "not used here: OFFHOOK_PUBLIC_URL, TWILIO_ACCOUNT_SID, TWILIO" in running.output
        said = home.run("text", "hello", TWILIO_AUTH_TOKEN="real")
        assert "You said: hello" in said.stdout


def test_metrics_are_for_this_machine(home: Home) -> None:
    with dev(home):
        assert "You said: hello" in home.run("text", "hello").stdout
        url = f"{session(home).url}/metrics"
        with httpx2.Client(trust_env=False) as client:
            text = client.get(url).text
            assert 'offhook_store_messages{state="done"}' in text
            assert 'offhook_handler_runs_total{kind="message",trigger="complete"} 1.0' in text
            assert client.get(url, headers={"Host": "bot.example.com"}).status_code == 404
            assert client.get(url, headers={"X-Forwarded-For": "1.2.3.4"}).status_code == 404


def test_the_control_api_is_for_who_knows_the_token_and_calls_this_machine_by_name(
    home: Home,
) -> None:
    with dev(home):
        known = session(home)
        url, order = known.url + TEXTS, {"body": "hello"}
        token = {TOKEN_HEADER: known.token}
        foreign = {**token, "Host": "bot.example.com"}
        with httpx2.Client(trust_env=False) as client:
            assert client.post(url, json=order).status_code == 403
            assert client.post(url, json=order, headers={TOKEN_HEADER: "x"}).status_code == 403
            assert client.post(url, json=order, headers=foreign).status_code == 403
            assert client.post(url, json={"repeat": 0}, headers=token).status_code == 400
            assert client.post(url, json=order, headers=token).status_code == 200
            listed = home.run("messages", "list", "--json")
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


def test_several_are_told_apart_by_their_ports(home: Home) -> None:
    with dev(home), dev(home):
        ports = sorted(file.stem[4:] for file in (home.runtime / "offhook").iterdir())
        unclear = home.run("text", "hello")
        assert unclear.returncode == 1
        assert all(port in unclear.stderr for port in ports)
        assert home.run("text", "hello", "--port", ports[0]).returncode == 0


def test_two_in_one_folder_do_not_share_a_store(home: Home) -> None:
    with dev(home) as first, dev(home) as second:
        ports = sorted(int(file.stem[4:]) for file in (home.runtime / "offhook").glob("dev-*.json"))
        for port in ports:
            assert home.run("text", f"to {port}", "--port", str(port)).returncode == 0
        for running in (first, second):
            assert running.output.count("<- You said: ") == 1
        stores = ["sqlite:///.offhook/dev.db", "sqlite:///.offhook/dev-2.db"]
        for store in stores:
            listed = home.run("messages", "list", "--json", "--store", store)
            assert len(listed.stdout.splitlines()) == 1
        unclear = home.run("messages", "list")
        assert unclear.returncode == 1
        assert all(Path(store).name in unclear.stderr for store in stores)
    with dev(home), dev(home):  # what was there before is taken up again
        assert not (home.directory / ".offhook" / "dev-3.db").exists()


def test_the_messages_of_production_are_not_touched(home: Home) -> None:
    """Production's waiting messages were handled here, and their replies failed for ever."""
    production = f"sqlite:///{home.directory}/production.db"
    spool = f"sqlite:///{home.directory}/spool.db"
    asyncio.run(put_by(production, "SM1"))
    asyncio.run(put_by(spool, "SM2", open_=open_spool))
    (home.directory / ".env").write_text(
        f"TWILIO_ACCOUNT_SID={'AC' + '1' * 32}\nTWILIO_AUTH_TOKEN=real\n"
        f"OFFHOOK_STORE={production}\nOFFHOOK_SPOOL={spool}\n"
        "OFFHOOK_CACHE=redis://127.0.0.1:1/0\nOFFHOOK_STORE_DIRECT=postgresql://127.0.0.1:1/x\n"
    )
    with dev(home, reload=True) as running:
        assert "not used here: OFFHOOK_CACHE, OFFHOOK_SPOOL, OFFHOOK_STORE" in running.output
        assert "You said: hello" in home.run("text", "hello").stdout
        # Beside it, commands go where they are told, and say how its own store is named.
        listed = home.run("messages", "list", "--json")
        assert [(one["sid"], one["state"]) for one in steps(listed.stdout)] == [("SM1", "open")]
        assert (
            "for the store of `offhook dev`, add --store sqlite:///.offhook/dev.db" in listed.stderr
        )
        own = home.run("messages", "list", "--json", "--store", "sqlite:///.offhook/dev.db")
        assert [one["state"] for one in steps(own.stdout)] == ["done"]
        assert "cache" not in running.output.lower().replace("offhook_cache", "")
    assert asyncio.run(count_spooled(spool)) == 1


def test_commands_beside_it_find_its_store(home: Home) -> None:
    with dev(home):
        home.run("text", "hello")
        for command in (("messages", "list", "--json"), ("messages", "show", "1", "--json")):
            shown = home.run(*command)
            assert (len(shown.stdout.splitlines()), shown.stderr) == (1, "")
        assert "webhooks done" in home.run("stats").stdout
    ended = home.run("stats")
    assert ended.returncode == 1
    assert "`offhook dev` has left one: --store sqlite:///.offhook/dev.db" in ended.stderr
    assert home.run("stats", "--store", "sqlite:///.offhook/dev.db").returncode == 0


async def put_by(url: str, sid: str, open_: Callable[[str], Store | Spool] = open_store) -> None:
    store = open_(url)
    await store.open()
    await keep(store, inbound(sid, "+15551230009", "hello"))
    await store.close()


async def count_spooled(url: str) -> int:
    spool = open_spool(url)
    await spool.open()
    try:
        return await spool.count()
    finally:
        await spool.close()


def test_what_a_killed_one_left_behind_is_cleared_away(home: Home) -> None:
    with dev(home):
        left = list((home.runtime / "offhook").iterdir())
    # Left by SIGKILL, on leaving the context.
    assert left[0].exists()
    assert "no offhook dev is running" in home.run("text", "hello").stderr
    assert not left[0].exists()


def test_a_runtime_directory_that_others_can_write_is_refused(home: Home) -> None:
    (home.runtime / "offhook").mkdir(mode=0o700)
    (home.runtime / "offhook").chmod(0o777)
    refused = home.run("dev", "bot:app", "--port", "0")
    assert refused.returncode == 1
    assert "must be yours alone" in refused.stderr


def test_the_child_ends_when_its_parent_is_killed(home: Home) -> None:
    with dev(home, reload=True) as running:
        (child,) = running.children("dev.child")
        running.send(signal.SIGKILL)
        until(lambda: not is_alive(child))


def test_a_url_is_posted_to_signed(home: Home) -> None:
    """What `--url` posts is taken by a webhook with the same token, and by no other."""
    with dev(home):
        known = session(home)
        token = {"TWILIO_AUTH_TOKEN": known.auth_token}
        url = f"{known.url}/twilio/messages?a=1#rc=2"
        said = home.run("text", "hello", "--url", url, "--repeat", "2", "--json", **token)
        assert said.returncode == 0, said.stderr
        first, second = steps(said.stdout)
        assert first["sid"] == second["sid"]
        assert first["status"] == second["status"] == 200

        refused = home.run("text", "hello", "--url", known.url, TWILIO_AUTH_TOKEN="another")
        assert refused.returncode == 1
        assert "HTTP 403 signature-mismatch" in refused.stdout
        assert "TWILIO_AUTH_TOKEN" in refused.stdout
        assert "OFFHOOK_PUBLIC_URL" in refused.stdout

        refused = home.run("text", "hello", "--url", known.url, "--json", TWILIO_AUTH_TOKEN="x")
        assert [step["reason"] for step in steps(refused.stdout)] == ["signature-mismatch"]


BUSY = """
from offhook import Message, Offhook, RetryLater

app = Offhook()


@app.message()
async def answer(message: Message) -> str:
    raise RetryLater(900)
"""


def test_what_waits_is_tried_at_once_after_a_reload_and_when_it_is_asked_for(home: Home) -> None:
    """Invariant: a mended bot, or an operator, need not wait for the next attempt's time."""
    home.write_bot(BUSY)
    with dev(home, reload=True) as running:
        known = session(home)
        with httpx2.Client(base_url=known.url, trust_env=False) as client:
            for body in ("one", "two"):
                order = {"body": body, "timeout": 0.1}
                client.post(TEXTS, json=order, headers={TOKEN_HEADER: known.token})
        running.wait_for("attempt=1")
        shown = home.run("messages", "show", "1", "2").stdout
        assert "next attempt (at once with: offhook messages replay)" in shown
        assert "behind message 1: its next attempt is in 14 min" in shown
        refused = home.run("messages", "replay", "2")
        assert refused.returncode == 1
        assert "2 not replayed: it waits behind message 1: its next attempt is in" in refused.stdout

        assert home.run("messages", "replay", "1").stdout == "1 replayed\n"
        running.wait_for("attempt=2")

        home.write_bot(ECHO)
        running.wait_for("<- You said: one")
        running.wait_for("<- You said: two")
