"""The help of a command: paragraphs that fill the width, and a table of its options."""

import re
import shutil
from collections.abc import Iterator
from typing import Any, Final

from rich.console import RenderableType
from rich.padding import Padding
from rich.table import Table
from rich.text import Text

from offhook.cli.classes import Command, Group
from offhook.terminal import console

_WIDEST: Final = 100  # columns: longer lines are hard to read
_EXAMPLES: Final = "[bold]Examples[/]"

Parameter = Any
"""An argument or an option as typer has made it. Its classes moved between releases."""


def rendered(command: Command | Group, ctx: Any) -> str:
    """Return the help of a command."""
    screen = console()
    width = min(shutil.get_terminal_size().columns, _WIDEST)
    with screen.capture() as captured:
        for part in _parts(command, ctx):
            screen.print(part, width=width)
    return "\n".join(line.rstrip() for line in captured.get().splitlines())


def paragraphs(help_: str) -> list[str]:
    """Return what is said before the examples; a paragraph's own line breaks mean nothing."""
    words = help_.partition(_EXAMPLES)[0]
    return [" ".join(part.split()) for part in words.strip().split("\n\n")]


def examples(help_: str) -> list[str]:
    """Return the examples, in the markup of rich."""
    lines = help_.partition(_EXAMPLES)[2].splitlines()
    return [re.sub(r"\s{2,}", "  ", line.strip()) for line in lines if line.strip()]


def names(parameter: Parameter) -> list[str]:
    """Return the names of an option with what it takes, or what an argument is called."""
    if not parameter.opts[0].startswith("-"):
        return [str(parameter.metavar or parameter.name)]
    value = "" if parameter.is_flag else f" {parameter.metavar or 'TEXT'}"
    options = sorted(parameter.opts, key=len, reverse=True) + parameter.secondary_opts
    return [f"{name}{value}" for name in options]


def default(parameter: Parameter) -> str:
    """Return what an option is if it is not given; empty if that needs no mention."""
    value = parameter.default
    if parameter.secondary_opts:
        return str((parameter.opts if value else parameter.secondary_opts)[0])
    if value in {"", False, None} or isinstance(value, list):
        return ""
    return f"{value:g}" if isinstance(value, float) else str(value)


def is_required_option(parameter: Parameter) -> bool:
    """Return whether an option must be given; the usage shows it of arguments."""
    return bool(parameter.required) and parameter.opts[0].startswith("-")


def _parts(command: Any, ctx: Any) -> Iterator[RenderableType]:
    arguments = [one for one in command.params if not one.opts[0].startswith("-")]
    words = [names(one)[0] for one in arguments] + ["COMMAND"] * isinstance(command, Group)
    yield Text.assemble(("Usage: ", "bold"), " ".join([ctx.command_path, "[OPTIONS]", *words]))
    for paragraph in paragraphs(command.help or ""):
        yield ""
        yield Text.from_markup(paragraph)
    if lines := examples(command.help or ""):
        yield from _titled("Examples", *map(Text.from_markup, lines))
    if arguments:
        yield from _titled("Arguments", _table([_row(one) for one in arguments]))
    options = [one for one in command.get_params(ctx) if one not in arguments and not one.hidden]
    yield from _titled("Options", _table([_row(one) for one in options]))
    if isinstance(command, Group):
        inner = {name: command.get_command(ctx, name) for name in command.list_commands(ctx)}
        rows = [(name, _summary(one)) for name, one in inner.items()]
        yield from _titled("Commands", _table(rows))
    if command.epilog:
        yield ""
        yield Text.from_markup(command.epilog)


def _titled(title: str, *parts: RenderableType) -> Iterator[RenderableType]:
    yield ""
    yield Text(title, "bold")
    for part in parts:
        yield Padding(part, (0, 0, 0, 2))


def _table(rows: list[tuple[str, str]]) -> Table:
    table = Table(box=None, show_header=False, pad_edge=False, padding=(0, 2, 0, 0))
    table.add_column(style="cyan", no_wrap=True)
    table.add_column()
    for name, meaning in rows:
        table.add_row(name, Text(meaning))
    return table


def _row(parameter: Parameter) -> tuple[str, str]:
    usual = default(parameter)
    said = [
        parameter.help or "",
        f"Default: {usual}." if usual else "",
        "Required." if is_required_option(parameter) else "",
    ]
    return ", ".join(names(parameter)), " ".join(filter(None, said))


def _summary(command: Any) -> str:
    return paragraphs(command.help or "")[0]
