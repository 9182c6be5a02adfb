"""The commands of `offhook`, each loaded only when it is called."""

import os
import sys
from collections.abc import Callable
from importlib import import_module
from typing import Annotated, Final, NamedTuple, NoReturn

import typer

from offhook import __version__
from offhook.cli import usage
from offhook.cli.classes import Command, Group
from offhook.errors import OffhookError
from offhook.observe.redaction import printable
from offhook.process import loading

__all__ = ["main"]


class _Entry(NamedTuple):
    target: str  # module:name of a function, or of a Typer of several
    summary: str


# `offhook --help` reads only this table: importing all commands takes many times as long.
_COMMANDS: Final = {
    "demo": _Entry("demo:command", "Show a conversation with the example bot."),
    "new": _Entry("new:command", "Create a folder with a bot, its test, and what deploys it."),
    "dev": _Entry("dev:command", "Serve a bot with a simulated Twilio; reload on change."),
    "text": _Entry("text:command", "Send a message to a bot, as a person would."),
    "send": _Entry("send:command", "Send a message that answers none, now or later."),
    "run": _Entry("run:run", "Serve a bot in production, on one machine."),
    "ingress": _Entry("run:ingress", "Answer webhooks, and leave the handling to workers."),
    "worker": _Entry("run:worker", "Handle messages that ingress machines have stored."),
    "messages": _Entry("messages:command", "List, show, replay, discard and erase messages."),
    "sends": _Entry("sends:command", "List, show, retry and cancel replies."),
    "stats": _Entry("stats:command", "Count messages and replies by state."),
    "connect": _Entry("connect:command", "Show which webhook Twilio calls, and set it."),
    "bench": _Entry("bench:command", "Load a running server, and time its answers."),
    "doctor": _Entry("doctor:command", "Find what is wrong, and how to fix it."),
    "migrate": _Entry("migrate:command", "Create the store, or update its schema."),
}

_COMPLETING: Final = "_OFFHOOK_COMPLETE"  # set by the shells' scripts, which typer writes

_SUMMARY: Final = "Receive Twilio's webhooks, store them, and run your handlers in the background."


def main() -> None:
    """Run `offhook` with the arguments of this process, and exit.

    Exit codes: 0 done, 1 it failed, 2 wrong usage, 130 interrupted.
    """
    try:
        application = _application(_arguments())
        loading.end()
        sys.exit(application(prog_name="offhook", standalone_mode=False))
    except OffhookError as error:
        # The message says what to do; a traceback would bury it.
        _fail(str(error))
    except typer.Abort:
        _fail("nothing was changed")
    except usage.USAGE_ERROR as error:
        if usage.is_plea_for_help(error):
            typer.echo(str(error), err=True)
            sys.exit(usage.EXIT_CODE)
        _fail(usage.complaint(error), usage.EXIT_CODE)


def _fail(text: str, code: int = 1) -> NoReturn:
    typer.secho(f"offhook: {printable(text)}", fg="red", err=True)
    sys.exit(code)


def _arguments() -> list[str]:
    """Return the arguments of this process, or those that a shell asks it to complete."""
    if _COMPLETING not in os.environ:
        return sys.argv[1:]
    words = os.environ.get("_TYPER_COMPLETE_ARGS") or os.environ.get("COMP_WORDS", "")
    return words.split()[1:]


def _application(arguments: list[str]) -> typer.Typer:
    """Return the application; only the called command is loaded, the others are stubs."""
    application = typer.Typer(
        name="offhook",
        help=_SUMMARY,
        epilog="Start with [bold]offhook demo[/]: it needs no account.",
        no_args_is_help=True,
        cls=Group,
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
        for one in command.registered_commands:
            one.cls = Command
        application.add_typer(command, name=name, cls=Group)
    else:
        application.command(name, cls=Command)(command)


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
