"""Print tables to a terminal, plain lines to a pipe, JSON objects for scripts."""

import time
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from offhook.observe.redaction import json_line, printable, printable_lines

INTERRUPTED: Final = 130
"""The exit code of a command that Ctrl-C has ended, as shells have it: 128 and SIGINT's number."""

_UNITS: Final[tuple[tuple[str, int], ...]] = (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1))

# A pipe has no width; rich would assume 80 and break lines there.
_PIPE_WIDTH = 200


class _SafeConsole(Console):
    """A console for untrusted text: escape sequences in it do not reach the terminal."""

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Render, with control characters in the text replaced."""
        for segment in super().render(renderable, options):
            text, style, control = segment
            yield segment if control else Segment(printable_lines(text), style)


def console(*, stderr: bool = False) -> Console:
    """Return a console: colours and the terminal's width on a terminal, neither in a pipe."""
    made = _SafeConsole(stderr=stderr, highlight=False)
    if not made.is_terminal:
        made = _SafeConsole(stderr=stderr, highlight=False, width=_PIPE_WIDTH, no_color=True)
    return made


def complain(text: str) -> None:
    """Print a warning to standard error, with control characters replaced."""
    import typer  # noqa: PLC0415 - the child of `offhook dev` prints, and has no command line

    typer.secho(f"offhook: {printable(text)}", fg="yellow", err=True)


def print_json(shown: Mapping[str, Any]) -> None:
    """Print one object on one line."""
    print(json_line(shown), flush=True)  # noqa: T201 - stdout is the point


def milliseconds(seconds: float) -> str:
    """Return a duration in milliseconds: `3.1 ms`."""
    return f"{seconds * 1000:.1f} ms"


def when(seconds: float | None) -> str | None:
    """Return a time since the epoch as ISO 8601 in UTC."""
    if seconds is None:
        return None
    return datetime.fromtimestamp(seconds, UTC).isoformat(timespec="milliseconds")


def local_time(seconds: float) -> str:
    """Return a time since the epoch in the local zone, without it: `2026-11-24 12:00:00`."""
    return f"{datetime.fromtimestamp(seconds).astimezone():%Y-%m-%d %H:%M:%S}"


def ago(moment: float) -> str:
    """Return how long ago a moment was, in the largest unit: `5 min ago`."""
    passed = max(0, int(time.time() - moment))
    unit, size = next(one for one in _UNITS if passed >= one[1] or one[1] == 1)
    return f"{passed // size} {unit} ago"


def until(moment: float) -> str:
    """Return the time left until a moment: `in 6 min 3 s`, or `due`."""
    left = moment - time.time()
    return f"in {duration(left)}" if left >= 1 else "due"


def duration(seconds: float) -> str:
    """Return a duration in its two largest units: `2 h 5 min`."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in _UNITS:
        count, rest = divmod(rest, size)
        if count or parts:
            parts.append(f"{count} {unit}")
    return " ".join(parts[:2]) or f"{seconds:.1f} s"
