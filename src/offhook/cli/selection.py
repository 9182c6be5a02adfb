"""Which messages a command is about: options that several commands take."""

from typing import Annotated

import typer

from offhook.cli.moments import moment
from offhook.core.keys import Kind
from offhook.core.lifecycle import State

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
