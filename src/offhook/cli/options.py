"""Arguments that several commands take."""

from pathlib import Path
from typing import Annotated

import typer

from offhook.cli.loading import AppName

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
