"""The tutorial is true: what it says to type prints what it says."""

import re
import shlex
import sqlite3
from collections.abc import Callable
from contextlib import ExitStack, closing
from pathlib import Path

from testing.commands import Call, Home, Process, dev, until
from tests.docs.pages import DOCS, Block, blocks

# What differs in each run: durations, times, ports, tokens and SIDs. Spaces too: columns are as
# wide as what is in them.
_VARYING = [
    (r"\d+\.\d+ (m?s)\b", r"0 \1"),
    (r"\d{4}-\d\d-\d\d ", "DATE "),
    (r"\d\d:\d\d:\d\d", "TIME"),
    (r"\d+ (s|min) ago\b", "AGO"),
    (r"\bSM[0-9a-f]{32}\b", "SID"),
    (r" +", " "),
]


def test_what_it_says_happens(tmp_path: Path, call_in: Callable[[Home], Call]) -> None:
    home = Home(tmp_path, COLUMNS="80")
    with ExitStack() as stack:
        reader = Reader(home, call_in(home), stack)
        for block in blocks(DOCS / "tutorial" / "first-bot.md"):
            reader.do(block)
        assert reader.done >= 7


class Reader:
    """Somebody who does what the tutorial says, and compares."""

    def __init__(self, home: Home, call: Call, stack: ExitStack) -> None:
        self._home = home
        self._call = call
        self._stack = stack
        self._bot = ""
        self._server: Process | None = None
        self._reloads = 0
        self.done = 0

    def do(self, block: Block) -> None:
        match block.language:
            case "python" if block.code.startswith("# bot.py"):
                # As slow as it has to be for its notice to come first.
                hurried = block.code.replace("sleep(5)", "sleep(1.5)")
                self._write(hurried.replace("slow_notice_after=2", "slow_notice_after=0.2"))
            case "python":
                self._mend(block.code)
            case "console":
                self._type(block.code)
            case "text" if self._server is not None:
                self._see(block.code)

    def _write(self, source: str) -> None:
        self._bot = source
        self._home.write_bot(source)
        if self._server is not None:
            self._reloads += 1
            self._server.wait_for("reloaded", self._reloads)

    def _mend(self, line: str) -> None:
        """Put a line in the place of the one that begins like it."""
        start = line[: line.index("for word")]
        [old] = [one for one in self._bot.splitlines(keepends=True) if one.startswith(start)]
        self._write(self._bot.replace(old, line))

    def _type(self, transcript: str) -> None:
        command, *expected = transcript.splitlines()
        if command.startswith("$ offhook dev"):
            self._server = self._stack.enter_context(dev(self._home, reload=True))
        elif command.startswith("$ offhook "):
            ended = self._call(*shlex.split(command)[2:])
            unanswered = any(line.startswith("dead ") for line in expected)
            assert ended.status == unanswered, ended.stderr
            _compare(ended.stdout.splitlines(), expected)
            self._until_reported()
            self.done += 1

    def _until_reported(self) -> None:
        """Wait for the delivery of replies: their statuses have numbers too, before the next."""
        file = self._home.directory / ".offhook" / "dev.db"

        def all_are() -> bool:
            with closing(sqlite3.connect(f"file:{file}?mode=ro", uri=True)) as store:
                query = "SELECT count(*) FROM sends WHERE delivery <> 'delivered'"
                return bool(store.execute(query).fetchone() == (0,))

        until(all_are)

    def _see(self, printed: str) -> None:
        assert self._server is not None
        server, wanted = self._server, _same(printed.strip())
        until(lambda: wanted in _same(server.output), server.explain)


def _compare(printed: list[str], expected: list[str]) -> None:
    if expected[-1] == "...":
        expected.pop()
        printed = printed[: len(expected)]
    assert [_same(line) for line in printed] == [_same(line) for line in expected]


def _same(text: str) -> str:
    for varying, constant in _VARYING:
        text = re.sub(varying, constant, text)
    return text.strip()
