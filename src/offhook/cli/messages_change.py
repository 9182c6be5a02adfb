"""Replay and discard messages, by their ids or by filters."""

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
from offhook.process.event_loop import on_signals
from offhook.settings import Settings
from offhook.stores import bulk
from offhook.stores.api import Filter, Inbox
from offhook.stores.bulk import Act, Chosen, Progressed, choose
from offhook.terminal import INTERRUPTED, console, print_json

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def per_second(text: str) -> float:
    """Parse a rate, `50/s`, `600/m` or `50`, as messages a second.

    Raises:
        typer.BadParameter: it can't be parsed.
    """
    match = re.fullmatch(r"(\d{1,6})(?:/([smh]))?", text.strip())
    if match is None or not int(match[1]):
        raise typer.BadParameter(f"{text!r} is not a rate: use 50/s, 600/m or 1000/h")
    return int(match[1]) / _UNITS[match[2] or ""]


async def act_on_all(
    inbox: Inbox, ids: Sequence[int], act: Act, *, rate: float | None, doing: str
) -> Progressed:
    """Act on each message, until Ctrl-C or SIGTERM.

    Args:
        inbox: the store.
        ids: of the messages.
        act: called with each id.
        rate: messages a second; None for no limit.
        doing: the label of the progress bar.
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


class Operation(NamedTuple):
    """An action on messages, with its verb and participle: `replay`, `replayed`."""

    verb: str
    done: str
    act: Act


@dataclass(frozen=True, slots=True)
class Selection:
    """The messages that the command line selects.

    Attributes:
        ids: empty if they are selected by the filter.
        every: whether --all was given, which a filter requires.
        sure: whether to skip the confirmation.
        rate: messages a second; None for no limit.
    """

    ids: list[int]
    wanted: Filter
    every: bool
    dry_run: bool
    sure: bool
    rate: float | None


def change(
    operation: Operation, selection: Selection, settings: Settings, *, as_json: bool
) -> None:
    """Carry out the operation, print the result, and exit 1 unless all succeeded."""
    _check(operation, selection)
    if selection.every:
        _change_all(operation, selection, settings, as_json=as_json)
    else:
        _change_each(operation, selection.ids, settings, as_json=as_json)


def _check(operation: Operation, selection: Selection) -> None:
    """Refuse a selection that could match more messages than intended."""
    if bool(selection.ids) == selection.every:
        raise typer.BadParameter(
            f"name the messages to {operation.verb}, or add --all for all that match the filters"
        )
    if selection.every and selection.wanted.state is None:
        raise typer.BadParameter("--all needs --state, such as --state dead")
    if not selection.every and (
        selection.dry_run or selection.wanted != Filter(kind=selection.wanted.kind)
    ):
        raise typer.BadParameter("filters and --dry-run need --all, and can't be combined with ids")


# By id


def _change_each(
    operation: Operation, ids: list[int], settings: Settings, *, as_json: bool
) -> None:
    outcomes = asyncio.run(_act_on_each(settings, ids, operation.act))
    screen = console()
    for id_, outcome in outcomes.items():
        if as_json:
            print_json({"id": id_, "ok": outcome == "", "error": outcome})
        elif outcome:
            screen.print(f"{id_} not {operation.done}: {outcome}", style="red", markup=False)
        else:
            screen.print(f"{id_} {operation.done}")
    if any(outcomes.values()):
        raise typer.Exit(1)


async def _act_on_each(settings: Settings, ids: list[int], act: Act) -> dict[int, str]:
    """Return by id why the operation failed; empty if it succeeded."""
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


def _change_all(
    operation: Operation, selection: Selection, settings: Settings, *, as_json: bool
) -> None:
    wanted = replace(selection.wanted, limit=_NO_LIMIT)
    chosen = asyncio.run(_choose(settings, wanted))
    if selection.dry_run:
        _print_selected(operation, chosen, as_json=as_json)
        return
    if not selection.sure and chosen.ids:
        _ask(operation, chosen)
    so_far = asyncio.run(_act_on_all(settings, operation, chosen, selection.rate))
    _print_result(operation, so_far, as_json=as_json)
    if so_far.interrupted:
        raise typer.Exit(INTERRUPTED)
    if so_far.refused or so_far.error:
        raise typer.Exit(1)


async def _choose(settings: Settings, wanted: Filter) -> Chosen:
    async with existing(settings) as store:
        return await choose(store, wanted)


async def _act_on_all(
    settings: Settings, operation: Operation, chosen: Chosen, rate: float | None
) -> Progressed:
    async with existing(settings) as store:
        return await act_on_all(store, chosen.ids, operation.act, rate=rate, doing=operation.verb)


def _ask(operation: Operation, chosen: Chosen) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(
            f"{len(chosen.ids):,} messages: add --yes to {operation.verb} them"
        )
    typer.confirm(f"{operation.verb} {len(chosen.ids):,} messages?", abort=True, err=True)


def _print_selected(operation: Operation, chosen: Chosen, *, as_json: bool) -> None:
    first = chosen.first
    if as_json:
        print_json(
            {
                "matched": len(chosen.ids),
                operation.done: 0,
                "first": [record_object(record, reveal=False) for record in first],
            }
        )
        return
    screen = console()
    screen.print(f"{len(chosen.ids):,} messages would be {operation.done}")
    if first:
        screen.print(f"the first {len(first)}:" if len(first) < len(chosen.ids) else "these:")
        screen.print(records_table(first, reveal=False, width=screen.width))


def _print_result(operation: Operation, so_far: Progressed, *, as_json: bool) -> None:
    if as_json:
        print_json(
            {
                "matched": so_far.matched,
                operation.done: so_far.done,
                "refused": so_far.refused,
                "untouched": so_far.untouched,
                "interrupted": so_far.interrupted,
                "error": so_far.error,
            }
        )
        return
    parts = [f"{so_far.done:,} of {so_far.matched:,} {operation.done}"]
    if so_far.refused:
        parts.append(f"{so_far.refused:,} refused (changed in the meantime, or not allowed)")
    if so_far.untouched:
        parts.append(f"{so_far.untouched:,} not changed")
    if so_far.error:
        parts.append(so_far.error)
    style = "red" if so_far.error or so_far.refused else ""
    console().print("; ".join(parts), style=style, markup=False)
