"""Replaying and discarding: of messages by their numbers, or of all that fit."""

import asyncio
import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, NamedTuple

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from offhook.cli.messages_view import ahead_in_words, record_object, records_table
from offhook.cli.stores import existing
from offhook.process.server import on_signals
from offhook.settings import Settings
from offhook.stores import bulk
from offhook.stores.api import Filter, Inbox
from offhook.stores.bulk import Act, Chosen, Progressed, choose
from offhook.terminal import console, print_json

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


_NO_LIMIT: Final = sys.maxsize
_INTERRUPTED: Final = 130  # as shells say of what Ctrl-C has ended


class Change(NamedTuple):
    """What is done to each message, and its words: `replay`, `replayed`."""

    verb: str
    done: str
    act: Act


@dataclass(frozen=True, slots=True)
class Selection:
    """What the command line chooses.

    Attributes:
        ids: messages by number; none when they are chosen by the filter.
        every: all that fit are meant: a filter alone might be a slip.
        sure: do not ask.
        rate: messages a second; None for as fast as it goes.
    """

    ids: list[int]
    wanted: Filter
    every: bool
    dry_run: bool
    sure: bool
    rate: float | None


def change(what: Change, selection: Selection, settings: Settings, *, as_json: bool) -> None:
    """Do it, say what came of it, and exit 1 unless all went well."""
    _check(what, selection)
    if selection.every:
        _change_all(what, selection, settings, as_json=as_json)
    else:
        _change_each(what, selection.ids, settings, as_json=as_json)


def _check(what: Change, selection: Selection) -> None:
    """Refuse what might mean more than was thought of."""
    if bool(selection.ids) == selection.every:
        raise typer.BadParameter(
            f"name the messages to {what.verb}, or add --all for all that fit the filters"
        )
    if selection.every and selection.wanted.state is None:
        raise typer.BadParameter("--all needs --state, such as --state dead")
    if not selection.every and (
        selection.dry_run or selection.wanted != Filter(kind=selection.wanted.kind)
    ):
        raise typer.BadParameter("filters and --dry-run go with --all, not with numbers")


# By number


def _change_each(what: Change, ids: list[int], settings: Settings, *, as_json: bool) -> None:
    outcomes = asyncio.run(_act_on_each(settings, ids, what.act))
    screen = console()
    for id_, outcome in outcomes.items():
        if as_json:
            print_json({"id": id_, "ok": outcome == "", "error": outcome})
        elif outcome:
            screen.print(f"{id_} not {what.done}: {outcome}", style="red", markup=False)
        else:
            screen.print(f"{id_} {what.done}")
    if any(outcomes.values()):
        raise typer.Exit(1)


async def _act_on_each(settings: Settings, ids: list[int], act: Act) -> dict[int, str]:
    """Return by id why it could not be done; empty where it was."""
    async with existing(settings) as store:
        return {id_: "" if await act(store, id_) else await _why_not(store, id_) for id_ in ids}


async def _why_not(inbox: Inbox, id_: int) -> str:
    history = await inbox.show(id_)
    if history is None:
        return "there is no such message"
    if history.record.reduced:
        return "its text was not kept (OFFHOOK_KEEP_BODIES)"
    if history.behind is not None:
        return f"it waits behind {ahead_in_words(history.behind)}"
    return f"it is {history.record.state}"


# By a filter


def _change_all(what: Change, selection: Selection, settings: Settings, *, as_json: bool) -> None:
    wanted = replace(selection.wanted, limit=_NO_LIMIT)
    chosen = asyncio.run(_choose(settings, wanted))
    if selection.dry_run:
        _tell_chosen(what, chosen, as_json=as_json)
        return
    if not selection.sure and chosen.ids:
        _ask(what, chosen)
    so_far = asyncio.run(_act_on_all(settings, what, chosen, selection.rate))
    _tell_progress(what, so_far, as_json=as_json)
    if so_far.interrupted:
        raise typer.Exit(_INTERRUPTED)
    if so_far.refused or so_far.error:
        raise typer.Exit(1)


async def _choose(settings: Settings, wanted: Filter) -> Chosen:
    async with existing(settings) as store:
        return await choose(store, wanted)


async def _act_on_all(
    settings: Settings, what: Change, chosen: Chosen, rate: float | None
) -> Progressed:
    async with existing(settings) as store:
        return await act_on_all(store, chosen.ids, what.act, rate=rate, doing=what.verb)


def _ask(what: Change, chosen: Chosen) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{len(chosen.ids):,} messages: add --yes to {what.verb} them")
    typer.confirm(f"{what.verb} {len(chosen.ids):,} messages?", abort=True, err=True)


def _tell_chosen(what: Change, chosen: Chosen, *, as_json: bool) -> None:
    first = chosen.first
    if as_json:
        print_json(
            {
                "matched": len(chosen.ids),
                what.done: 0,
                "first": [record_object(record, reveal=False) for record in first],
            }
        )
        return
    screen = console()
    screen.print(f"{len(chosen.ids):,} messages would be {what.done}")
    if first:
        screen.print(f"the first {len(first)}:" if len(first) < len(chosen.ids) else "these:")
        screen.print(records_table(first, reveal=False, width=screen.width))


def _tell_progress(what: Change, so_far: Progressed, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "matched": so_far.matched,
                what.done: so_far.done,
                "refused": so_far.refused,
                "untouched": so_far.untouched,
                "interrupted": so_far.interrupted,
                "error": so_far.error,
            }
        )
        return
    parts = [f"{so_far.done:,} of {so_far.matched:,} {what.done}"]
    if so_far.refused:
        parts.append(f"{so_far.refused:,} had changed meanwhile, or can't be")
    if so_far.untouched:
        parts.append(f"{so_far.untouched:,} left as they were")
    if so_far.error:
        parts.append(so_far.error)
    style = "red" if so_far.error or so_far.refused else ""
    console().print("; ".join(parts), style=style, markup=False)
