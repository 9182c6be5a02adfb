"""Many messages on a terminal: a rate, a bar, and Ctrl-C."""

import asyncio
import re
from collections.abc import Sequence
from typing import Final

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from offhook import bulk
from offhook.bulk import Act, Progressed
from offhook.cli.output import console
from offhook.cli.signals import on_signals
from offhook.ports import Inbox

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def per_second(text: str) -> float:
    """Return what a rate means, a second: `50/s`, `600/m`, `50`.

    Raises:
        typer.BadParameter: it means nothing.
    """
    match = re.fullmatch(r"(\d{1,6})(?:/([smh]))?", text.strip())
    if match is None or not int(match[1]):
        raise typer.BadParameter(f"{text!r}: write 50/s, 600/m or 1000/h")
    return int(match[1]) / _UNITS[match[2] or ""]


async def act_on_all(
    inbox: Inbox, ids: Sequence[int], act: Act, *, rate: float | None, doing: str
) -> Progressed:
    """Act on each message. Ctrl-C and SIGTERM end it between two of them.

    Args:
        inbox: where they are.
        ids: of the messages.
        act: done to each.
        rate: messages a second, None for as fast as it goes.
        doing: what the bar says.
    """
    stop = asyncio.Event()
    on_signals(stop.set)
    so_far = Progressed(len(ids))
    with _bar(console(stderr=True)) as bar:
        task = bar.add_task(doing, total=len(ids))
        async for _ in bulk.act_on_all(inbox, ids, act, rate=rate, stop=stop, so_far=so_far):
            bar.advance(task)
    return so_far


def _bar(screen: Console) -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=screen,
        transient=True,
        disable=not screen.is_terminal,
    )
