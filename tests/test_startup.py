"""What is told at the start: slips that would otherwise go unseen."""

import asyncio
from pathlib import Path

import pytest

from offhook import Message, Offhook
from offhook.events import Event, Problem, Topic
from offhook.startup import unknown_variables
from testing.commands import Home, dev
from testing.ports import free_port

ACCOUNT = {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "made-up"}
PUBLIC = {**ACCOUNT, "OFFHOOK_PUBLIC_URL": "http://bot.example.com"}
NO_BOT = "from offhook import Offhook\napp = Offhook()\n"


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("OFFHOOK_HANDLER_TIMOUT", "OFFHOOK_HANDLER_TIMEOUT"),
        ("offhook_prot", "OFFHOOK_PORT"),
        ("OFFHOOK_ACCOUNT_SID", "TWILIO_ACCOUNT_SID"),
        ("OFFHOOK_TWILIO_AUTH_TOKEN", "TWILIO_AUTH_TOKEN"),
        ("TWILIO_AUTHTOKEN", "TWILIO_AUTH_TOKEN"),
        ("TWILIO_API_SECRET", "TWILIO_API_KEY_SECRET"),
        ("TWILIO_STORE", "OFFHOOK_STORE"),
        ("OFFHOOK_COFFEE", ""),
    ],
)
def test_a_variable_that_is_no_setting_is_told_with_the_nearest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, nearest: str
) -> None:
    monkeypatch.chdir(tmp_path)
    assert unknown_variables({name: "1", "PATH": "x"}) == {name.upper(): nearest}
    (tmp_path / ".env").write_text(f"{name}=1\nOTHER=2\n")
    assert unknown_variables({}) == {name.upper(): nearest}


@pytest.mark.parametrize(
    "given",
    [
        {"OFFHOOK_PORT": "1"},
        {"TWILIO_PHONE_NUMBER": "+1555"},
        {"TWILIO_REGION": "ie1"},
        {"TWILIO_ACCOUNT_SID": "AC1", "TWILIO_SUBACCOUNT_SID": "AC2"},
    ],
)
def test_what_is_a_setting_or_anothers_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, given: dict[str, str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert unknown_variables(given) == {}


def test_run_tells_each_slip_once(tmp_path: Path) -> None:
    home = Home(tmp_path, NO_BOT, **PUBLIC, OFFHOOK_HANDLER_TIMOUT="3")
    (tmp_path / ".env").write_text("OFFHOOK_SLOW_NOTICE_AFTR=1\n")
    with home.start("run", "bot:app", "--port", str(free_port())) as process:
        process.wait_for("listening on")
        for text in (
            "OFFHOOK_HANDLER_TIMOUT is set, but is not a setting: did you mean OFFHOOK_HANDLER_TIM",
            "OFFHOOK_SLOW_NOTICE_AFTR is set, but is not a setting: did you mean OFFHOOK_SLOW_NO",
            "OFFHOOK_PUBLIC_URL is not https",
            "the bot has no handlers",
        ):
            assert process.output.count(text) == 1, process.explain()


def test_a_malformed_account_stops_the_start(tmp_path: Path) -> None:
    home = Home(tmp_path, **{**PUBLIC, "TWILIO_ACCOUNT_SID": "XY1"})
    ended = home.run("run", "bot:app", "--port", "0")
    assert ended.returncode == 1
    assert ended.stderr.startswith("offhook: TWILIO_ACCOUNT_SID: must be AC and 32")


@pytest.mark.parametrize("reload", [True, False])
def test_dev_tells_what_concerns_it(tmp_path: Path, reload: bool) -> None:
    home = Home(tmp_path, NO_BOT, OFFHOOK_HANDLER_TIMOUT="3")
    with dev(home, reload=reload) as process:
        process.wait_for("did you mean OFFHOOK_HANDLER_TIMEOUT?")
        process.wait_for("the bot has no handlers")
        assert "https" not in process.output, "it is not the real public URL"


def test_an_app_under_another_server_tells_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OFFHOOK_WORKRES", "2")
    told: list[Event] = []
    app = Offhook(
        observers=[told.append], account_sid="AC" + "0" * 32, auth_token="made-up",
        public_url="https://bot.example.com",
    )  # fmt: skip

    async def start() -> None:
        async with app.lifespan():
            pass

    asyncio.run(start())
    topics = [event.topic for event in told if isinstance(event, Problem)]
    assert topics.count(Topic.SETTINGS) == 1
    assert topics.count(Topic.NO_HANDLERS) == 1
    told.clear()

    @app.message()
    async def answer(message: Message) -> str:
        return message.body

    monkeypatch.delenv("OFFHOOK_WORKRES")
    asyncio.run(start())
    topics = [event.topic for event in told if isinstance(event, Problem)]
    assert not {Topic.SETTINGS, Topic.NO_HANDLERS} & {*topics}
