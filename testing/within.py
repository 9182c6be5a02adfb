"""Commands of `offhook` within this process: for those that start nothing."""

import os
import sys

import pytest

from offhook import cli
from testing.commands import Call, Ended, Home


def caller(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Call:
    """Return a function that runs a command in this process, with its directory and environment."""
    # No other process creates the store.
    monkeypatch.setattr("offhook.cli.stores._CREATION_TIMEOUT", 0.0)
    # This process goes on after the command, and its garbage shall be found.
    monkeypatch.setattr("gc.freeze", lambda: None)

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["offhook", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run


def enter(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give this process the directory and the environment of a home, as `Home.run` does."""
    monkeypatch.chdir(home.directory)
    surroundings = home.surroundings()
    for name in os.environ.keys() - surroundings.keys():
        monkeypatch.delenv(name)
    for name, value in surroundings.items():
        if os.environ.get(name) != value:
            monkeypatch.setenv(name, value)
