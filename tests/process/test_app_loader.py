import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from offhook import Offhook
from offhook.errors import AppNotFound, HandlerError
from offhook.process.app_loader import AppName


@pytest.fixture(autouse=True)
def imports_as_before() -> Iterator[None]:
    path, modules = sys.path[:], set(sys.modules)
    yield
    sys.path[:] = path
    for name in set(sys.modules) - modules:
        del sys.modules[name]


def load(directory: Path, source: str, name: str = "loaded_bot:app") -> Offhook:
    (directory / "loaded_bot.py").write_text(source)
    return AppName.parse(name, directory).load()


def refusal(directory: Path, source: str, name: str = "loaded_bot:app") -> str:
    with pytest.raises(AppNotFound) as caught:
        load(directory, source, name)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_a_module_and_a_name(tmp_path: Path) -> None:
    app = load(tmp_path, "from offhook import Offhook\nbot = Offhook()", "loaded_bot:bot")
    assert isinstance(app, Offhook)


@pytest.mark.parametrize("written", ["bots/echo.py", "bots/echo.py:app"])
def test_a_file_is_understood_and_how_to_write_it_is_said(tmp_path: Path, written: str) -> None:
    name = AppName.parse(written, tmp_path)
    assert (name.directory, name.module, name.attribute) == (tmp_path / "bots", "echo", "app")
    assert name.hint == f"echo:app in {tmp_path / 'bots'}"
    assert AppName.parse("echo.py", tmp_path).hint == "echo:app"
    assert AppName.parse("echo:app", tmp_path).hint == ""


@pytest.mark.parametrize("written", ["", ":", "bot", "bot:", ":app", "bot app", "a/b:app", "b:a.c"])
def test_what_is_no_name_is_refused_with_an_example(tmp_path: Path, written: str) -> None:
    with pytest.raises(AppNotFound, match="for example bot:app"):
        AppName.parse(written, tmp_path)


def test_a_mistake_in_the_module_is_told_with_its_place(tmp_path: Path) -> None:
    line = refusal(tmp_path, "x = 1\nint('seven')")
    assert "ValueError: invalid literal" in line
    assert "loaded_bot.py, line 2" in line


def test_a_syntax_error_is_told_with_its_place(tmp_path: Path) -> None:
    line = refusal(tmp_path, "x = 1\ndef (:")
    assert "SyntaxError" in line
    assert "loaded_bot.py, line 2" in line


def test_a_module_that_the_bot_needs_is_not_taken_for_the_bot(tmp_path: Path) -> None:
    line = refusal(tmp_path, "import loaded_bot_helper")
    assert "No module named 'loaded_bot_helper'" in line
    assert "loaded_bot.py, line 1" in line


def test_a_bot_that_ends_the_process_when_imported(tmp_path: Path) -> None:
    assert "SystemExit: 3" in refusal(tmp_path, "raise SystemExit(3)")


def test_a_missing_name_is_told_with_those_that_are_there(tmp_path: Path) -> None:
    line = refusal(tmp_path, "from offhook import Offhook\nbot = Offhook()")
    assert "no 'app'" in line
    assert "loaded_bot:bot" in line


def test_something_else_than_an_offhook(tmp_path: Path) -> None:
    line = refusal(tmp_path, "from fastapi import FastAPI\napp = FastAPI()")
    assert "FastAPI, not an Offhook" in line
    assert "uvicorn" in line


def test_our_own_errors_speak_for_themselves(tmp_path: Path) -> None:
    source = """
from offhook import Offhook
app = Offhook()

@app.message()
def answer(message: int) -> None: ...
"""
    with pytest.raises(HandlerError):
        load(tmp_path, source)
