"""The code on the pages runs: what is Python compiles, and each whole bot answers."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from offhook.core.lifecycle import State
from offhook.dev.control import SendTextRequest
from offhook.dev.conversation import Acknowledged, Settled
from offhook.dev.server import configure, dev_server
from offhook.dev.session import Session
from offhook.process.app_loader import AppName
from offhook.process.sockets import listen, url_of
from tests.docs.pages import DOCS, PAGES, Block, blocks

PYTHON = [block for block in blocks(*PAGES) if block.language == "python"]
# The tutorial has a test of its own.
BOTS = [b for b in PYTHON if b.code.startswith("# bot.py") and b.page.stem != "first-bot"]
ECHO = next(block for block in BOTS if block.page.name == "README.md")

# Signatures, and a line of a file.
_PARTS = (
    "    return",
    "class ",
    "def ",
    "async def ",
    "@asynccontextmanager\nasync def lifespan()",
)


def test_there_are_bots_to_be_tried() -> None:
    assert len(BOTS) >= 10


@pytest.mark.parametrize("block", [b for b in PYTHON if not b.code.startswith(_PARTS)], ids=str)
def test_python_compiles(block: Block) -> None:
    compile(block.code, str(block.page), "exec")


@pytest.mark.parametrize("block", BOTS, ids=str)
async def test_a_whole_bot_answers(
    block: Block, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Each in a module of its own: one process imports them all.
    module = f"bot_{str(block).replace('-', '_')}"
    (tmp_path / f"{module}.py").write_text(block.code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)
    app = AppName.parse(f"{module}:app", tmp_path).load()

    with listen("127.0.0.1", 0) as listener:
        session = Session.begin(url_of(listener))
        configure(app, session, store=f"sqlite:///{tmp_path / 'bot.db'}")
        async with dev_server(app, listener, session) as server:
            steps = [step async for step in server.texts.text(SendTextRequest(body="hello"))]
    assert isinstance(steps[0], Acknowledged)
    assert steps[0].status == 200
    assert isinstance(steps[-1], Settled)
    assert steps[-1].state is State.DONE


def test_the_tests_of_the_how_to_pass(tmp_path: Path) -> None:
    for block in blocks(DOCS / "how-to" / "test-your-bot.md"):
        name = block.code.partition("\n")[0].removeprefix("# ")
        if name.endswith(".py"):
            (tmp_path / name).write_text(block.code)
    (tmp_path / "bot.py").write_text(ECHO.code)
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--rootdir", "."],
        cwd=tmp_path, env={**os.environ, "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip
    assert ran.returncode == 0, ran.stdout
    assert "2 passed" in ran.stdout
