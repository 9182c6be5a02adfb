"""The commands, from what they say themselves when asked for `--help`."""

import enum
import re
import types
import typing
from collections.abc import Iterator
from typing import Any, Final

import typer

from offhook.cli import commands

Command = Any
"""A command as typer has made it. Its classes moved between releases; their attributes stayed."""

_EXAMPLES: Final = "[bold]Examples[/]"
_MARKUP: Final = re.compile(r"\[/?(?:bold|dim|cyan|bold cyan)?\]")
_WORDS: Final = {int: "N", float: "N", str: "TEXT"}


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
    words, _, examples = (command.help or "").partition(_EXAMPLES)
    yield f"{'#' * (name.count(' ') + 1)} {name}"
    # A paragraph's own line breaks mean nothing.
    paragraphs = _MARKUP.sub("", words).strip().split("\n\n")
    yield "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)
    shown = [parameter for parameter in command.params if not parameter.hidden]
    if shown:
        rows = [f"| {_names(one)} | {_meaning(one)} |" for one in shown if one.name != "help"]
        yield "\n".join(["| argument or option | meaning |", "|---|---|", *rows])
    if examples:
        yield f"```console\n{_examples(examples)}\n```"


def _names(parameter: Any) -> str:
    if not parameter.opts[0].startswith("-"):
        return f"`{parameter.metavar or parameter.name}`"
    value = "" if parameter.is_flag else f" {_value(parameter)}"
    names = sorted(parameter.opts, key=len, reverse=True) + parameter.secondary_opts
    return ", ".join(f"`{name}{value}`" for name in names)


def _value(option: Any) -> str:
    """Return what an option takes, in a word."""
    if option.metavar:
        return str(option.metavar)
    wanted = _bare(option.type_descriptor.annotation)
    if typing.get_origin(wanted) is typing.Literal:
        return "\\|".join(map(str, typing.get_args(wanted)))
    if isinstance(wanted, type) and issubclass(wanted, enum.Enum):
        return "\\|".join(str(one.value) for one in wanted)
    return _WORDS.get(wanted, "VALUE")


def _bare(annotation: Any) -> Any:
    """Return `T` of `T | None` and of `list[T]`."""
    if isinstance(annotation, types.UnionType):
        return _bare(next(one for one in typing.get_args(annotation) if one is not type(None)))
    if typing.get_origin(annotation) is list:
        return _bare(typing.get_args(annotation)[0])
    return annotation


def _meaning(parameter: Any) -> str:
    meaning = [parameter.help or ""]
    default = parameter.default
    if parameter.secondary_opts:
        chosen = parameter.opts if default else parameter.secondary_opts
        meaning.append(f"Default: `{chosen[0]}`.")
    elif isinstance(default, str | int | float) and default not in {"", False}:
        meaning.append(f"Default: `{getattr(default, 'value', default)}`.")
    if parameter.required and parameter.opts[0].startswith("-"):
        meaning.append("Required.")
    return " ".join(meaning).replace("|", "\\|")


def _examples(text: str) -> str:
    lines = [_MARKUP.sub("", line).strip() for line in text.splitlines()]
    return "\n".join(re.sub(r"\s{2,}#", "  #", line) for line in lines if line)
