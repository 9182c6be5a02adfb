import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from offhook import cli
from testing.commands import Call, Ended, Home


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Return a function that runs a command within this process: for those that start nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("OFFHOOK_STORE", raising=False)
    return _caller(monkeypatch, capsys)


@pytest.fixture
def call_in(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[[Home], Call]:
    """Return a function that makes a `Call` of a home: as `Home.run`, but within this process."""

    def enter(home: Home) -> Call:
        monkeypatch.chdir(home.directory)
        surroundings = home.surroundings()
        for name in os.environ.keys() - surroundings.keys():
            monkeypatch.delenv(name)
        for name, value in surroundings.items():
            if os.environ.get(name) != value:
                monkeypatch.setenv(name, value)
        return _caller(monkeypatch, capsys)

    return enter


def _caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    monkeypatch.setattr(
        "offhook.cli.stores._CREATION_TIMEOUT", 0.0
    )  # no other process creates the store

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["offhook", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run
