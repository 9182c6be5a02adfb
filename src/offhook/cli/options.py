"""Arguments and options that several commands share."""

import inspect
import re
import time
from collections.abc import Callable, Collection
from datetime import datetime
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import typer

from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.core.values import Reader, integer, listed
from offhook.errors import AppNotFound

T = TypeVar("T")
Command = Callable[..., None]

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def parsed(read: Reader[T]) -> Callable[[object], T]:
    """Return a parser that reads as settings are read, and so complains in the same words."""

    def parse(value: object) -> T:
        try:
            return read(value)
        except ValueError as error:
            raise typer.BadParameter(str(error)) from None

    return parse


def choice(values: Collection[str], metavar: str, help_: str) -> Any:
    """Return an option that takes one of some values, names them in its help, and completes them.

    Args:
        values: the values; members of an enumeration are given as such.
        metavar: what a value is called.
        help_: ends where the values are to be named.
    """

    def parse(text: str) -> str:
        found = next((one for one in values if one == text), None)
        if found is None:
            raise typer.BadParameter(f"must be {listed(values, 'or')}")
        return found

    return typer.Option(
        parser=parse,
        metavar=metavar,
        autocompletion=lambda incomplete: [one for one in values if one.startswith(incomplete)],
        help=f"{help_}: {', '.join(values)}.",
    )


def parse_app(text: str) -> str:
    """Refuse what can't be a bot's name.

    Raises:
        typer.BadParameter: it is not like `bot:app` or `bot.py`.
    """
    # Not at the top: most commands load no bot.
    from offhook.process.app_loader import AppName  # noqa: PLC0415

    try:
        return AppName.parse(text, Path.cwd()).text
    except AppNotFound as error:
        raise typer.BadParameter(str(error)) from None


def parse_id(text: str | int) -> int:
    """Parse the number of a message or a send.

    Raises:
        typer.BadParameter: no store has such a number.
    """
    if not re.fullmatch(r"\d{1,18}", str(text).strip()):
        raise typer.BadParameter(f"{text!r} is not an id: use one that `list` shows")
    return int(text)


def parse_time(text: str) -> float:
    """Parse a time as seconds since the epoch; without a zone, it is local.

    Raises:
        typer.BadParameter: it can't be parsed.
    """
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text.strip()):
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(
            f"{text!r} is not a time: use 10m, 2h, 3d or 2026-11-24T12:00"
        ) from error


def parse_delay(text: str | float) -> float:
    """Parse a time as seconds from now: `2h`, or a moment, which is local without a zone.

    Raises:
        typer.BadParameter: it can't be parsed.
    """
    if isinstance(text, float):  # the default
        return text
    if ahead := re.fullmatch(r"(?:in\s+)?(\d{1,6})([smhd])", text.strip()):
        return float(int(ahead[1]) * _UNITS[ahead[2]])
    return parse_time(text) - time.time()


def with_options_of(build: Callable[..., object]) -> Callable[[Command], Command]:
    """Give a command the options of a function in place of its parameter `wanted`.

    The command is called with what the function has made of them.
    """
    options = inspect.signature(build, eval_str=True).parameters

    def decorate(command: Command) -> Command:
        own = inspect.signature(command, eval_str=True)
        parameters: list[inspect.Parameter] = []
        for one in own.parameters.values():
            parameters += options.values() if one.name == "wanted" else [one]

        @wraps(command)
        def run(**given: object) -> None:
            wanted = build(**{name: given.pop(name) for name in options})
            command(**given, wanted=wanted)

        vars(run)["__signature__"] = own.replace(parameters=parameters)
        run.__annotations__ = {one.name: one.annotation for one in parameters}
        return run

    return decorate


StateOption = Annotated[State | None, choice(list(State), "STATE", "Only messages in this state")]

KindOption = Annotated[
    Kind, choice(list(Kind), "KIND", "Messages, delivery statuses, or what is not verified yet")
]

SenderOption = Annotated[
    str,
    typer.Option(metavar="NUMBER", help="Only from this number, in full, on any channel."),
]

SidOption = Annotated[str, typer.Option(metavar="SID", help="Only with this MessageSid.")]

SinceOption = Annotated[
    float | None,
    typer.Option(parser=parse_time, metavar="TIME", help="Received at or after: 10m, 2026-11-24."),
]

UntilOption = Annotated[
    float | None, typer.Option(parser=parse_time, metavar="TIME", help="Received before.")
]


AppArgument = Annotated[
    str,
    typer.Argument(
        parser=parse_app, metavar="MODULE:NAME", help="Your bot: bot:app is `app` in bot.py."
    ),
]
SettingsOfAppArgument = Annotated[
    str | None,
    typer.Argument(
        parser=parse_app, metavar="[MODULE:NAME]", help="Your bot, if it sets settings in code."
    ),
]
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Such as sqlite:///offhook.db. [OFFHOOK_STORE]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]

RevealOption = Annotated[bool, typer.Option("--reveal", help="Show numbers and texts.")]

DryRunOption = Annotated[
    bool, typer.Option("--dry-run", help="Print how many match, and change nothing.")
]

YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]


Host = Annotated[
    str | None,
    typer.Option("--host", metavar="ADDRESS", help="Address to listen on. [OFFHOOK_HOST]"),
]

parse_port: Final = parsed(integer(0, 65535))

Port = Annotated[
    int | None,
    typer.Option(
        "--port", parser=parse_port, metavar="PORT", help="Port to listen on. [OFFHOOK_PORT]"
    ),
]

Ingresses = Annotated[
    int | None,
    typer.Option(
        "--ingresses",
        parser=parsed(integer(1, 64)),
        metavar="N",
        help="Processes that answer webhooks. [OFFHOOK_INGRESSES]",
    ),
]

Workers = Annotated[
    int | None,
    typer.Option(
        "--workers",
        parser=parsed(integer(1, 64)),
        metavar="N",
        help="Processes that run handlers. [OFFHOOK_WORKERS]",
    ),
]

WorkerNice = Annotated[
    int | None,
    typer.Option(
        "--worker-nice",
        parser=parsed(integer(0, 19)),
        metavar="N",
        help="Niceness of workers, so that handlers do not delay answers. [OFFHOOK_WORKER_NICE]",
    ),
]

LimitOption = Annotated[
    int, typer.Option(parser=parsed(integer(1)), metavar="N", help="Maximum number.")
]

ForceUnsigned = Annotated[
    bool,
    typer.Option("--force-unsigned", help="Allow OFFHOOK_SIGNATURE=off on a public address."),
]
