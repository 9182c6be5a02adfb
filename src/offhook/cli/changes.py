"""Change messages or sends, by their ids or by filters: ask, act, and print the result."""

import asyncio
import re
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, Any, Final, Generic, NamedTuple, Protocol, TypeVar

import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from offhook.cli.stores import existing
from offhook.process.event_loop import on_signals
from offhook.settings import Settings
from offhook.stores import bulk
from offhook.stores.api import Record, SendRecord, Store
from offhook.stores.bulk import Chosen, Listing, Progressed, choose
from offhook.terminal import INTERRUPTED, console, print_json

R = TypeVar("R", bound=Record | SendRecord)
R_contra = TypeVar("R_contra", bound=Record | SendRecord, contravariant=True)

NO_LIMIT: Final = sys.maxsize
"""Of a filter that chooses what to change."""

_UNITS: Final = {"": 1.0, "s": 1.0, "m": 60.0, "h": 3600.0}


def per_second(text: str) -> float:
    """Parse a rate, `50/s`, `600/m` or `50`, as so many a second.

    Raises:
        typer.BadParameter: it can't be parsed.
    """
    match = re.fullmatch(r"(\d{1,6})(?:/([smh]))?", text.strip())
    if match is None or not int(match[1]):
        raise typer.BadParameter(f"{text!r} is not a rate: use 50/s, 600/m or 1000/h")
    return int(match[1]) / _UNITS[match[2] or ""]


RateOption = Annotated[
    float | None,
    typer.Option(parser=per_second, metavar="RATE", help="Maximum rate: 50/s, 600/m."),
]


class Operation(NamedTuple):
    """An action, with its verb and participle: `replay`, `replayed`.

    Attributes:
        act: returns the number of what it has acted on, which may be another then; None if the
            state does not allow it.
        why_not: returns why it did not act.
        rate: how many a second, of many, unless another is given; None for no limit.
    """

    verb: str
    done: str
    act: Callable[[Store, int], Awaitable[int | None]]
    why_not: Callable[[Store, int], Awaitable[str]]
    rate: float | None = None


class Survey(Protocol[R_contra]):
    """Finds out what a dry run has to say about all that is selected."""

    async def look(self, store: Store, records: Sequence[R_contra]) -> None:
        """Look at some of it."""
        ...

    def as_object(self) -> Mapping[str, Any]:
        """Return what was found, for scripts."""
        ...

    def in_words(self) -> str:
        """Return what was found; empty for nothing."""
        ...


@dataclass(frozen=True, slots=True)
class Selection(Generic[R]):
    """What the command line selects.

    Attributes:
        noun: what it is, in the plural.
        ids: empty if they are selected by the filters.
        listing: what fits the filters.
        is_filtered: whether filters were given.
        has_state: whether a state is among them, which --all requires.
        every: whether --all was given, which filters require.
        sure: whether to skip the confirmation.
        rate: how many a second, as given; None if it was not.
        as_object: returns one for scripts.
        as_table: returns some as a table that fits in a width.
        survey: what a dry run finds out beside; None for nothing.
    """

    noun: str
    ids: list[int]
    listing: Callable[[Store], Listing[R]]
    is_filtered: bool
    has_state: bool
    every: bool
    dry_run: bool
    sure: bool
    rate: float | None
    as_object: Callable[[R], Mapping[str, Any]]
    as_table: Callable[[list[R], int], Table]
    survey: Survey[R] | None = None


def change(
    operation: Operation, selection: Selection[R], settings: Settings, *, as_json: bool
) -> None:
    """Carry out the operation, print the result, and exit 1 unless all succeeded."""
    _check(operation, selection)
    if selection.every:
        _change_all(operation, selection, settings, as_json=as_json)
    else:
        _change_each(operation, selection.ids, settings, as_json=as_json)


def _check(operation: Operation, selection: Selection[R]) -> None:
    """Refuse a selection that could match more than intended."""
    if bool(selection.ids) == selection.every:
        raise typer.BadParameter(
            f"name the {selection.noun} to {operation.verb}, or add --all for all that match the "
            "filters"
        )
    if selection.every and not selection.has_state:
        raise typer.BadParameter("--all needs --state")
    limited = selection.dry_run or selection.rate is not None or selection.is_filtered
    if not selection.every and limited:
        raise typer.BadParameter(
            "filters, --dry-run and --rate need --all, and can't be combined with ids"
        )


# By id


def _change_each(
    operation: Operation, ids: list[int], settings: Settings, *, as_json: bool
) -> None:
    outcomes = asyncio.run(_act_on_each(settings, ids, operation))
    screen = console()
    for id_, outcome in outcomes.items():
        if as_json:
            print_json(_outcome_object(id_, outcome))
        elif isinstance(outcome, str):
            screen.print(f"{id_} not {operation.done}: {outcome}", style="red", markup=False)
        else:
            new = "" if outcome == id_ else f", as {outcome}"
            screen.print(f"{id_} {operation.done}{new}")
    if any(isinstance(outcome, str) for outcome in outcomes.values()):
        raise typer.Exit(1)


async def _act_on_each(
    settings: Settings, ids: list[int], operation: Operation
) -> dict[int, int | str]:
    """Return by id its number now, or why the operation failed."""
    outcomes: dict[int, int | str] = {}
    async with existing(settings) as store:
        for id_ in ids:
            acted = await operation.act(store, id_)
            outcomes[id_] = await operation.why_not(store, id_) if acted is None else acted
    return outcomes


def _outcome_object(id_: int, outcome: int | str) -> Mapping[str, Any]:
    if isinstance(outcome, str):
        return {"id": id_, "ok": False, "error": outcome}
    shown = {"id": id_, "ok": True, "error": ""}
    return shown if outcome == id_ else {**shown, "now": outcome}


# By a filter


def _change_all(
    operation: Operation, selection: Selection[R], settings: Settings, *, as_json: bool
) -> None:
    chosen = asyncio.run(_choose(settings, selection))
    if selection.dry_run:
        _print_selected(operation, selection, chosen, as_json=as_json)
        return
    if not selection.sure and chosen.ids:
        _ask(operation, len(chosen.ids), selection.noun)
    rate = selection.rate or operation.rate
    so_far = asyncio.run(_act_on_all(settings, operation, chosen.ids, rate))
    _print_result(operation, so_far, as_json=as_json)
    if so_far.interrupted:
        raise typer.Exit(INTERRUPTED)
    if so_far.refused or so_far.error:
        raise typer.Exit(1)


async def _choose(settings: Settings, selection: Selection[R]) -> Chosen[R]:
    async with existing(settings) as store:
        surveyed = selection.survey if selection.dry_run else None
        look = partial(surveyed.look, store) if surveyed else None
        return await choose(selection.listing(store), look=look)


async def _act_on_all(
    settings: Settings, operation: Operation, ids: list[int], rate: float | None
) -> Progressed:
    """Act on each, until Ctrl-C or SIGTERM."""
    stop = asyncio.Event()
    so_far = Progressed(len(ids))
    async with existing(settings) as store:
        on_signals(stop.set)
        with _bar(console(stderr=True)) as bar:
            task = bar.add_task(operation.verb, total=len(ids))
            async for _ in bulk.act_on_all(
                ids, lambda id_: operation.act(store, id_), rate=rate, stop=stop, so_far=so_far
            ):
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


def _ask(operation: Operation, number: int, noun: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"{number:,} {noun}: add --yes to {operation.verb} them")
    typer.confirm(f"{operation.verb} {number:,} {noun}?", abort=True, err=True)


def _print_selected(
    operation: Operation, selection: Selection[R], chosen: Chosen[R], *, as_json: bool
) -> None:
    first, survey = chosen.first, selection.survey
    if as_json:
        print_json(
            {
                "matched": len(chosen.ids),
                operation.done: 0,
                **(survey.as_object() if survey else {}),
                "first": [selection.as_object(record) for record in first],
            }
        )
        return
    screen = console()
    screen.print(f"{len(chosen.ids):,} {selection.noun} would be {operation.done}")
    if survey and (found := survey.in_words()):
        screen.print(found, style="yellow", soft_wrap=True)
    if first:
        screen.print(f"the first {len(first)}:" if len(first) < len(chosen.ids) else "these:")
        screen.print(selection.as_table(first, screen.width))


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
