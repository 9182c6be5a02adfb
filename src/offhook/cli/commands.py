"""`offhook` itself: its commands by name, and the one that is called."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Final, NamedTuple

import typer

from offhook import __version__
from offhook.errors import OffhookError
from offhook.observe.redaction import printable

__all__ = ["main"]


class _Command(NamedTuple):
    module: str  # has `command`: a function, or a Typer of several
    summary: str


# `offhook --help` is made of this table alone: importing all commands takes many times as long.
_COMMANDS: Final = {
    "demo": _Command("offhook.cli.demo", "Shows a conversation with the example bot."),
    "dev": _Command("offhook.cli.dev", "Serves a bot with a simulated Twilio; reloads on change."),
    "text": _Command("offhook.cli.text", "Sends a message to a bot, as a person would."),
    "run": _Command("offhook.cli.run", "Serves a bot in production, on one machine."),
    "ingress": _Command(
        "offhook.cli.ingress", "Answers webhooks, and leaves handling to worker machines."
    ),
    "worker": _Command("offhook.cli.worker", "Handles messages that ingress machines have stored."),
    "messages": _Command(
        "offhook.cli.messages", "Lists, shows, replays, discards, erases messages."
    ),
    "stats": _Command("offhook.cli.stats", "Counts messages and replies by state."),
    "connect": _Command("offhook.cli.connect", "Shows which webhook Twilio calls, and sets it."),
    "bench": _Command("offhook.cli.bench", "Loads a running server, and times its answers."),
    "doctor": _Command("offhook.cli.doctor", "Says what is wrong, and how to mend it."),
    "migrate": _Command("offhook.cli.migrate", "Creates the store, or updates its schema."),
}

_SUMMARY: Final = "Answers Twilio's webhooks: stored, acknowledged at once, never lost."


def main() -> None:
    """Run `offhook` with the arguments of this process, and exit.

    Exit codes: 0 done, 1 it failed, 2 wrong usage, 130 interrupted.
    """
    try:
        _application(sys.argv[1:])(prog_name="offhook")
    except OffhookError as error:
        # Messages of ours say what to do; a traceback would only bury that.
        typer.secho(f"offhook: {printable(str(error))}", fg="red", err=True)
        sys.exit(1)


def _application(arguments: list[str]) -> typer.Typer:
    """Return the application with the called command in full, and the others by name."""
    application = typer.Typer(
        name="offhook",
        help=_SUMMARY,
        epilog="Begin with [bold]offhook demo[/]: it needs no account.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    application.callback()(_options)
    called = arguments[0] if arguments else ""
    for name, command in _COMMANDS.items():
        if name == called:
            _add(application, name, import_module(command.module).command)
        else:
            application.command(name, help=command.summary)(_stub)
    return application


def _add(application: typer.Typer, name: str, command: typer.Typer | Callable[..., None]) -> None:
    if isinstance(command, typer.Typer):
        application.add_typer(command, name=name)
    else:
        application.command(name)(command)


def _print_version(asked: bool) -> None:
    if asked:
        typer.echo(__version__)
        raise typer.Exit


def _options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", help="Print the version.", callback=_print_version, is_eager=True
        ),
    ] = False,
) -> None:
    """Take the options that stand before a command."""


def _stub() -> None:
    """Stand for a command that was not called."""
