"""`offhook bench` against a real `offhook dev`, and what it refuses to load."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from testing.commands import Call, Home, dev
from tests.docs.json_fields import assert_documented

CREDENTIALS = {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "made-up"}
BRIEF = ("--seconds", "0.3", "--warm-up", "0.1", "--connections", "4")
SILENT = """
from offhook import Offhook

app = Offhook()

@app.message()
async def nothing() -> None:
    pass
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Home]:
    """Return the home of a bot that is served by `offhook dev`."""
    made = Home(tmp_path_factory.mktemp("bench"), SILENT)
    with dev(made):
        yield made


def test_it_measures_a_running_dev(
    home: Home, call_in: Callable[[Home], Call], tmp_path: Path
) -> None:
    mixed = ("--repeats", "20", "--forged", "20", "--media", "20", "--statuses", "20")
    plot = tmp_path / "plot.svg"
    # Long enough for some of each kind, though the disk be slow.
    done = home.run("bench", *BRIEF, "--seconds", "1", *mixed, "--plot", str(plot), "--json")
    assert done.returncode == 0, done.stdout + done.stderr
    measured: dict[str, Any] = json.loads(done.stdout)
    closed, opened = measured["phases"]
    assert_documented("`offhook bench`", measured)
    assert_documented("`phases`", opened)
    assert set(closed["statuses"]) == {"200", "204", "403"}
    assert set(closed["kinds"]) == {"fresh", "media", "status", "repeat", "forged"}
    assert measured["ceiling"] > 0
    assert opened["offered"] == pytest.approx(closed["rate"] / 2, rel=0.01)
    assert "<polyline" in plot.read_text()

    steady = call_in(home)("bench", *BRIEF, "--rate", "50", "--fresh-connections", "--no-ceiling")
    assert steady.status == 0, steady.stdout + steady.stderr
    assert "open loop" in steady.stdout
    assert "closed loop" not in steady.stdout
    assert "200: 15" in steady.stdout

    with home.start("bench", "--seconds", "60") as bench:
        bench.wait_for("connections")
        bench.interrupt()
        assert bench.exit_status() == 130, bench.explain()
        assert "interrupted" in bench.output


def test_what_is_not_answered_as_it_should_be_makes_it_fail(
    home: Home, call_in: Callable[[Home], Call]
) -> None:
    address = json.loads(next(home.runtime.glob("offhook/dev-*.json")).read_text())["url"]
    done = call_in(home)("bench", f"{address}/elsewhere", *BRIEF, "--closed", "--no-ceiling")
    assert done.status == 1
    assert "404" in done.stdout
    assert "not as expected" in done.stdout


def test_without_credentials_it_says_what_to_do(call: Call) -> None:
    ended = call("bench")
    assert ended.status == 1
    assert "TWILIO_AUTH_TOKEN" in ended.stderr
    assert "offhook dev" in ended.stderr


@pytest.mark.parametrize(
    ("arguments", "settings", "told"),
    [
        (["https://bot.example.com"], {}, "bot.example.com is not this machine"),
        (["http://127.0.0.1:9"], {}, "real Twilio"),
        ([], {"OFFHOOK_TWILIO_API": "http://127.0.0.1:9", "OFFHOOK_PORT": "9"}, "offhook run"),
        (["127.0.0.1:8000"], {}, "is not a URL like"),
        (["http://127.0.0.1:x"], {}, "is not a URL like"),
    ],
)
def test_what_it_does_not_load(
    call: Call,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    settings: dict[str, str],
    told: str,
) -> None:
    for name, value in {**CREDENTIALS, **settings}.items():
        monkeypatch.setenv(name, value)
    ended = call("bench", *arguments)
    assert ended.status == 1
    assert told in ended.stderr
    assert "Traceback" not in ended.stderr


def test_a_mix_of_more_than_all_is_wrong_usage(call: Call) -> None:
    assert call("bench", "--repeats", "60", "--forged", "60").status == 2
