"""Arguments that several commands take."""

import re
import time
from datetime import datetime
from typing import Annotated, Final

import typer

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


Host = Annotated[str | None, typer.Option("--host", help="Listen here. [OFFHOOK_HOST]")]

Port = Annotated[
    int | None, typer.Option("--port", min=0, max=65535, help="Listen here. [OFFHOOK_PORT]")
]

Ingresses = Annotated[
    int | None,
    typer.Option("--ingresses", min=1, max=64, help="Processes that answer. [OFFHOOK_INGRESSES]"),
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
        help="Niceness of workers, so that busy handlers do not delay answers.",
    ),
]

ForceUnsigned = Annotated[
    bool,
    typer.Option("--force-unsigned", help="Allow OFFHOOK_SIGNATURE=off on a public address."),
]
