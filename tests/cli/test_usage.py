import inspect
import re
import socket
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import typer

from offhook import __version__
from offhook.cli import commands
from offhook.cli.help import examples
from testing.commands import Call, Home
from tools.pages.commands import tree

COMMANDS = dict(tree())  # by their full names, groups and what is in them
ACCOUNT = {"TWILIO_ACCOUNT_SID": "AC" + "0" * 32, "TWILIO_AUTH_TOKEN": "made-up"}
PUBLIC = {**ACCOUNT, "OFFHOOK_PUBLIC_URL": "https://bot.example.com"}


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


def failure(home: Home, *arguments: str, **environment: str) -> str:
    """Return the one line that a command fails with."""
    ended = home.run(*arguments, **environment)
    assert ended.returncode == 1, ended
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    return line


def test_help_names_every_command(home: Home) -> None:
    shown = home.run("--help")
    assert shown.returncode == 0
    names = [name.split() for name in COMMANDS]
    assert len(names) > 12
    assert all(f" {name[1]} " in shown.stdout for name in names if len(name) == 2)
    assert "\x1b" not in shown.stdout, "colours are for terminals"


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself(
    call: Call, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    status, shown, _ = call(*name.split()[1:], "--help")
    assert status == 0
    assert max(map(len, shown.splitlines())) <= 80
    assert not re.search(r"<\w+( \w+)?>|[╭│]", shown), "what an option takes, in typer's words"
    written = examples(COMMANDS[name].help)
    assert all(line in shown for line in written), "none is broken"
    if hasattr(COMMANDS[name], "commands"):
        inner = [one.split()[-1] for one in COMMANDS if one.startswith(f"{name} ")]
        assert inner
        assert all(f" {one} " in shown for one in inner)
    assert any(line.startswith(name) for line in written)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ("stats --days 30", "--days and --reveal need --cost"),
        ("stats --reveal", "--days and --reveal need --cost"),
        ("sends retry 17 --rate 5/s", "need --all"),
        ("messages replay 17 --rate 5/s", "need --all"),
        ("text hi --url http://127.0.0.1:1 --port 8000", "not both"),
        ("bench http://127.0.0.1:1 --closed --rate 5", "not both"),
    ],
)
def test_an_option_that_would_be_ignored_is_refused(call: Call, arguments: str, said: str) -> None:
    status, shown, why = call(*arguments.split())
    assert (status, shown) == (2, "")
    assert said in " ".join(why.replace("│", " ").split())


def test_the_list_of_commands_says_what_each_says_of_itself() -> None:
    for name, entry in commands._COMMANDS.items():
        command = commands._load(entry.target)
        help_ = command.info.help if isinstance(command, typer.Typer) else inspect.getdoc(command)
        assert str(help_).splitlines()[0] == entry.summary, name


def test_the_version(call: Call) -> None:
    assert call("--version") == (0, f"{__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        (),
        ("rum",),
        ("run",),
        ("run", "bot:app", "--port", "99999"),
        ("run", "bot:app", "--workers", "none"),
        ("text",),
        ("text", "hello", "--channel", "pigeon"),
        ("messages", "list", "--state", "lost"),
        ("messages", "list", "--since", "yesterday"),
        ("messages", "show", "seven"),
        ("text", "hello", "--url", "localhost"),
        ("run", "bot"),
        ("run", "bot:app", "bot:app"),
        ("run", "bot:app", "--prot", "1"),
        ("bench", "--forged", "many"),
    ],
)
def test_wrong_usage_is_said_in_one_line_and_exits_2(
    call: Call, arguments: tuple[str, ...]
) -> None:
    status, shown, complaint = call(*arguments)
    assert status == 2
    if not arguments:
        assert complaint.startswith("Usage:")
        return
    (line,) = complaint.splitlines()
    assert line.startswith("offhook: ")
    assert re.search(r"\(see offhook[a-z ]* --help\)$", line)
    assert not shown
    assert not re.search("Input should|Value error|Invalid value|valid integer", line)


def test_a_shell_completes_commands_options_and_states(
    call: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("_OFFHOOK_COMPLETE", "complete_bash")
    for line, found in {
        "offhook mess": ["messages"],
        "offhook messages li": ["list"],
        "offhook messages list --si": ["--sid", "--since"],
        "offhook messages list --state d": ["done", "discarded", "dead"],
    }.items():
        monkeypatch.setenv("COMP_WORDS", line)
        monkeypatch.setenv("COMP_CWORD", str(line.count(" ")))
        shown = call().stdout.split()
        assert sorted(shown) == sorted(found)


def test_run_names_the_settings_that_are_missing(home: Home) -> None:
    line = failure(home, "run", "bot:app", OFFHOOK_STORE="sqlite:///bot.db")
    names = "TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and OFFHOOK_PUBLIC_URL"
    assert line.startswith(f"offhook: {names} must be set")


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("OFFHOOK_PUBLIC_URL", "bot.example.com"),
        ("OFFHOOK_STORE", "mysql://localhost"),
        ("OFFHOOK_MAX_ATTEMPTS", "many"),
        ("OFFHOOK_LOOP_LIMIT", "twenty"),
    ],
)
def test_a_wrong_setting_is_named(
    home: Home,
    call_in: Callable[[Home], Call],
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    value: str,
) -> None:
    run = call_in(home)
    # Loading a bot leaves both behind.
    monkeypatch.syspath_prepend(home.directory)
    monkeypatch.delitem(sys.modules, "bot", raising=False)
    monkeypatch.setattr("offhook.process.machine.Machine.serve", None)  # if it were not refused
    for variable, text in {**PUBLIC, name: value}.items():
        monkeypatch.setenv(variable, text)
    status, shown, said = run("run", "bot:app")
    assert (status, shown) == (1, "")
    (line,) = said.splitlines()
    assert name in line


def test_run_refuses_unsigned_webhooks_from_everybody(home: Home) -> None:
    line = failure(
        home, "run", "bot:app", "--host", "0.0.0.0", "--port", "0",
        **PUBLIC, OFFHOOK_SIGNATURE="off",
    )  # fmt: skip
    assert "OFFHOOK_SIGNATURE" in line
    assert "--force-unsigned" in line


@pytest.mark.parametrize("command", ["run", "dev"])
def test_a_port_in_use_is_named_with_the_way_out(home: Home, command: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        line = failure(home, command, "bot:app", "--port", port, **PUBLIC)
    assert f"port {port} is in use" in line
    assert "--port" in line


def test_a_host_of_another_machine(home: Home) -> None:
    line = failure(home, "run", "bot:app", "--host", "192.0.2.1", "--port", "0", **PUBLIC)
    assert "192.0.2.1" in line


def test_an_app_that_is_not_there(home: Home) -> None:
    assert "no module 'bto'" in failure(home, "run", "bto:app", **PUBLIC)
    line = failure(home, "run", "bot:application", **PUBLIC)
    assert "'application'" in line
    assert "bot:app" in line


@pytest.mark.parametrize("options", [(), ("--no-reload",)])
def test_an_app_that_fails_to_import_under_dev(home: Home, options: tuple[str, ...]) -> None:
    home.write_bot("import nowhere_to_be_found")
    line = failure(home, "dev", "bot:app", "--port", "0", *options)
    assert "nowhere_to_be_found" in line
    assert "bot.py, line 1" in line


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["text", "hello"], "offhook dev bot:app"),
        (["text", "hello", "--url", "https://localhost:1"], "TWILIO_AUTH_TOKEN must be set"),
        (["stats"], "no store at"),
        (["messages", "list"], "no store at"),
        (["messages", "replay", "1"], "no store at"),
        (["stats", "--store", "mysql://localhost"], "OFFHOOK_STORE"),
    ],
)
def test_what_can_not_be_done_is_said_in_one_line(
    call: Call, arguments: list[str], complaint: str
) -> None:
    status, shown, said = call(*arguments)
    assert (status, shown) == (1, "")
    (line,) = said.splitlines()
    assert complaint in line
    assert not Path("offhook.db").exists()


def test_a_store_that_is_none(call: Call) -> None:
    Path("offhook.db").write_text("this is no database, however long it goes on\n" * 9)
    status, _, said = call("stats")
    assert status == 1
    assert "offhook.db" in said
    assert len(said.splitlines()) == 1
