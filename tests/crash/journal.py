"""What the bot's journal says: which runs began, and how they ended, independent of the store."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

LAST_ATTEMPT = 2
"""Of a message whose handler fails each time; as bot.py has it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A line of the journal: a run began (`start`) or ended (`done`, `discarded`, `failed`)."""

    event: str
    sid: str
    attempt: int
    conversation: int
    number: int
    pid: int

    @classmethod
    def parse(cls, line: str) -> "Entry":
        event, sid, attempt, conversation, number, pid = line.split()
        return cls(event, sid, int(attempt), int(conversation), int(number), int(pid))

    @property
    def begins(self) -> bool:
        return self.event == "start"

    @property
    def completes(self) -> bool:
        """Whether the message needed no run after this one, had it been settled."""
        return self.event in {"done", "discarded"} or (
            self.event == "failed" and self.attempt == LAST_ATTEMPT
        )


def has_run(path: Path, pids: Sequence[int]) -> bool:
    """Return whether one of these processes has begun a run."""
    text = path.read_text()
    return any(f" {pid}\n" in text for pid in pids)


def read(path: Path) -> list[Entry]:
    """Return the entries in the order in which they were written."""
    return [Entry.parse(line) for line in path.read_text().splitlines()]
