"""The classes of the commands, whose help is ours."""

from typing import Any

from typer.core import TyperCommand, TyperGroup


class Command(TyperCommand):
    """A command with a help of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(_help_of(self, ctx))


class Group(TyperGroup):
    """A group of commands with a help of ours."""

    def format_help(self, ctx: Any, formatter: Any) -> None:
        """Write the help."""
        formatter.write(_help_of(self, ctx))


def _help_of(command: Command | Group, ctx: Any) -> str:
    # Not at the top: rich takes each start 30 ms, and `offhook run` prints no help.
    from offhook.cli.help import rendered  # noqa: PLC0415

    return rendered(command, ctx)
