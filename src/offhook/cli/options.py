"""Arguments and options that several commands share."""

import re
import time
from datetime import datetime
from typing import Annotated, Final

import typer

from offhook.core.keys import Kind
from offhook.core.lifecycle import State

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


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


StateOption = Annotated[State | None, typer.Option(help="Only messages in this state.")]

KindOption = Annotated[Kind, typer.Option(help="Messages, or delivery statuses.")]

SenderOption = Annotated[
    str,
    typer.Option(metavar="NUMBER", help="Only from this number, in full, on any channel."),
]

SidOption = Annotated[str, typer.Option(help="Only with this MessageSid.")]

SinceOption = Annotated[
    float | None,
    typer.Option(parser=parse_time, metavar="TIME", help="Received at or after: 10m, 2026-11-24."),
]

UntilOption = Annotated[
    float | None, typer.Option(parser=parse_time, metavar="TIME", help="Received before.")
]


AppArgument = Annotated[
    str, typer.Argument(metavar="MODULE:NAME", help="Your bot: bot:app is `app` in bot.py.")
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


Host = Annotated[str | None, typer.Option("--host", help="Address to listen on. [OFFHOOK_HOST]")]

Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Port to listen on. [OFFHOOK_PORT]")
]

Ingresses = Annotated[
    int | None,
    typer.Option(
        "--ingresses", min=1, max=64, help="Processes that answer webhooks. [OFFHOOK_INGRESSES]"
    ),
]

Workers = Annotated[
    int | None,
    typer.Option("--workers", min=1, max=64, help="Processes that run handlers. [OFFHOOK_WORKERS]"),
]

WorkerNice = Annotated[
    int | None,
    typer.Option(
        "--worker-nice",
        min=0,
        max=19,
        help="Niceness of workers, so that handlers do not delay answers. [OFFHOOK_WORKER_NICE]",
    ),
]

ForceUnsigned = Annotated[
    bool,
    typer.Option("--force-unsigned", help="Allow OFFHOOK_SIGNATURE=off on a public address."),
]
