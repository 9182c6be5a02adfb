import sys
from pathlib import Path

import pytest

from offhook import cli
from testing.commands import Call, Ended


@pytest.fixture
def call(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Call:
    """Return a function that runs a command within this process: for those that start nothing."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.delenv("TWILIO_AUTH_TOKEN", raising=False)
    monkeypatch.delenv("OFFHOOK_STORE", raising=False)
    monkeypatch.setattr(
        "offhook.cli.stores._CREATION_TIMEOUT", 0.0
    )  # no other process creates the store

    def run(*arguments: str) -> Ended:
        monkeypatch.setattr(sys, "argv", ["offhook", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        return Ended(int(ended.value.code or 0), *capsys.readouterr())

    return run
