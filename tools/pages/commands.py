"""The commands, from what they say themselves when asked for `--help`."""

import re
from collections.abc import Iterator
from typing import Any, Final

import typer

from offhook.cli import commands
from offhook.cli.help import default, examples, is_required_option, names, paragraphs

Command = Any
"""A command as typer has made it. Its classes moved between releases; their attributes stayed."""

_MARKUP: Final = re.compile(r"\[/?(?:bold|dim|cyan|bold cyan)?\]")


def section() -> str:
    """Return a chapter for each command, in the order of `offhook --help`."""
    return "\n\n".join(part for name, command in tree() for part in _chapter(name, command))


def tree() -> Iterator[tuple[str, Command]]:
    """Yield each command by its full name, groups before what is in them."""
    for name, entry in commands._COMMANDS.items():  # noqa: SLF001 - the one table of commands
        application = typer.Typer(add_completion=False, rich_markup_mode="rich")
        application.callback()(lambda: None)  # keeps one command from being the whole application
        commands._add(application, name, commands._load(entry.target))  # noqa: SLF001 - as it does
        group: Command = typer.main.get_command(application)
        yield from _walk(f"offhook {name}", group.commands[name])


def options(command: Command) -> Iterator[str]:
    """Yield the names of all options that a command takes."""
    for parameter in command.params:
        if parameter.opts[0].startswith("-") and not parameter.hidden:
            yield from (*parameter.opts, *parameter.secondary_opts)


def _walk(name: str, command: Command) -> Iterator[tuple[str, Command]]:
    yield name, command
    for inner, sub in getattr(command, "commands", {}).items():
        yield from _walk(f"{name} {inner}", sub)


def _chapter(name: str, command: Command) -> Iterator[str]:
    help_ = command.help or ""
    yield f"{'#' * (name.count(' ') + 1)} {name}"
    yield _MARKUP.sub("", "\n\n".join(paragraphs(help_)))
    shown = [parameter for parameter in command.params if not parameter.hidden]
    if shown:
        rows = [f"| {_names(one)} | {_meaning(one)} |" for one in shown if one.name != "help"]
        yield "\n".join(["| argument or option | meaning |", "|---|---|", *rows])
    if lines := examples(help_):
        yield "```console\n" + _MARKUP.sub("", "\n".join(lines)) + "\n```"


def _names(parameter: Any) -> str:
    return ", ".join(f"`{name}`" for name in names(parameter)).replace("|", "\\|")


def _meaning(parameter: Any) -> str:
    meaning = [parameter.help or ""]
    if usual := default(parameter):
        meaning.append(f"Default: `{usual}`.")
    if is_required_option(parameter):
        meaning.append("Required.")
    return " ".join(meaning).replace("|", "\\|")
