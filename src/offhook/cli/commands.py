"""The commands of `offhook`, each loaded only when it is called."""

import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Final, NamedTuple

import typer

from offhook import __version__
from offhook.errors import OffhookError
from offhook.observe.redaction import printable
from offhook.process import loading

__all__ = ["main"]


class _Command(NamedTuple):
    target: str  # module:name of a function, or of a Typer of several
    summary: str


# `offhook --help` reads only this table: importing all commands takes many times as long.
_COMMANDS: Final = {
    "demo": _Command("demo:command", "Show a conversation with the example bot."),
    "new": _Command("new:command", "Create a folder with a bot, its test, and what deploys it."),
    "dev": _Command("dev:command", "Serve a bot with a simulated Twilio; reload on change."),
    "text": _Command("text:command", "Send a message to a bot, as a person would."),
    "send": _Command("send:command", "Send a message that answers none, now or later."),
    "run": _Command("run:run", "Serve a bot in production, on one machine."),
    "ingress": _Command("run:ingress", "Answer webhooks, and leave the handling to workers."),
    "worker": _Command("run:worker", "Handle messages that ingress machines have stored."),
    "messages": _Command("messages:command", "List, show, replay, discard and erase messages."),
    "sends": _Command("sends:command", "List, show, retry and cancel replies."),
    "stats": _Command("stats:command", "Count messages and replies by state."),
    "connect": _Command("connect:command", "Show which webhook Twilio calls, and set it."),
    "bench": _Command("bench:command", "Load a running server, and time its answers."),
    "doctor": _Command("doctor:command", "Find what is wrong, and how to fix it."),
    "migrate": _Command("migrate:command", "Create the store, or update its schema."),
}

_SUMMARY: Final = "Receive Twilio's webhooks, store them, and run your handlers in the background."


def main() -> None:
    """Run `offhook` with the arguments of this process, and exit.

    Exit codes: 0 done, 1 it failed, 2 wrong usage, 130 interrupted.
    """
    try:
        application = _application(sys.argv[1:])
        loading.end()
        application(prog_name="offhook")
    except OffhookError as error:
        # The message says what to do; a traceback would bury it.
        typer.secho(f"offhook: {printable(str(error))}", fg="red", err=True)
        sys.exit(1)


def _application(arguments: list[str]) -> typer.Typer:
    """Return the application; only the called command is loaded, the others are stubs."""
    application = typer.Typer(
        name="offhook",
        help=_SUMMARY,
        epilog="Start with [bold]offhook demo[/]: it needs no account.",
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
    )
    application.callback()(_options)
    called = arguments[0] if arguments else ""
    for name, command in _COMMANDS.items():
        if name == called:
            _add(application, name, _load(command.target))
        else:
            application.command(name, help=command.summary)(_stub)
    return application


def _load(target: str) -> typer.Typer | Callable[..., None]:
    module, _, name = target.partition(":")
    loaded: typer.Typer | Callable[..., None] = getattr(
        import_module(f"offhook.cli.{module}"), name
    )
    return loaded


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
    """Accept the options before a command."""


def _stub() -> None:
    """Stand in for a command that was not called."""
