"""Arguments that several commands take."""

import re
import time
from datetime import datetime
from pathlib import Path
from typing import Annotated, Final

import typer

from offhook.cli.loading import AppName
from offhook.core.keys import Kind
from offhook.core.lifecycle import State

_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def moment(text: str) -> float:
    """Return the seconds since the epoch that a text means; without a zone, in the local one.

    Raises:
        typer.BadParameter: it means nothing.
    """
    if ago := re.fullmatch(r"(\d{1,6})([smhd])", text.strip()):
        return time.time() - int(ago[1]) * _UNITS[ago[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except (ValueError, OverflowError) as error:
        raise typer.BadParameter(f"{text!r}: write 10m, 2h, 3d or 2026-11-24T12:00") from error


StateOption = Annotated[State | None, typer.Option(help="Only those in this state.")]

KindOption = Annotated[Kind, typer.Option(help="Messages, or delivery statuses.")]

SenderOption = Annotated[
    str,
    typer.Option(
        metavar="NUMBER", help="Only from this number, in full, by SMS or another channel."
    ),
]

SidOption = Annotated[str, typer.Option(help="Only with this MessageSid.")]

SinceOption = Annotated[
    float | None,
    typer.Option(parser=moment, metavar="TIME", help="Received then or later: 10m, 2026-11-24."),
]

UntilOption = Annotated[
    float | None, typer.Option(parser=moment, metavar="TIME", help="Received before.")
]


AppArgument = Annotated[
    str, typer.Argument(metavar="MODULE:NAME", help="Your bot: bot:app is `app` in bot.py.")
]
StoreOption = Annotated[
    str | None,
    typer.Option(metavar="URL", help="Such as sqlite:///offhook.db. [OFFHOOK_STORE]"),
]
JsonOption = Annotated[bool, typer.Option("--json", help="One JSON object a line, for scripts.")]


def app_named(text: str) -> AppName:
    """Return what a `MODULE:NAME` argument means, and say when it is better written.

    Raises:
        AppNotFound: it means nothing.
    """
    name = AppName.parse(text, Path.cwd())
    if name.hint:
        typer.secho(f"{text} is read as {name.hint}", dim=True, err=True)
    return name
