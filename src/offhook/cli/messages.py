"""`offhook messages`: the inbox, for operators."""

import asyncio
from typing import Annotated

import typer

from offhook.cli.messages_change import Change, Selection, change, per_second
from offhook.cli.messages_erase import command as erase
from offhook.cli.messages_view import history_object, print_history, record_object, records_table
from offhook.cli.options import (
    JsonOption,
    KindOption,
    SenderOption,
    SidOption,
    SinceOption,
    StateOption,
    StoreOption,
    UntilOption,
)
from offhook.cli.stores import existing, settings_beside_dev
from offhook.core.keys import Kind
from offhook.settings import Settings
from offhook.stores.api import Filter, History, Record
from offhook.stores.bulk import REPLAYS_PER_SECOND, pages
from offhook.terminal import console, print_json

command = typer.Typer(
    help="Lists, shows, replays, discards, erases messages.\n\nNumbers are masked and texts "
    "hidden without --reveal.",
    no_args_is_help=True,
)
command.command("erase")(erase)

_RevealOption = Annotated[
    bool, typer.Option("--reveal", help="Show numbers, and what people wrote.")
]
_Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="As `messages list` shows them.")]
_SomeIds = Annotated[
    list[int] | None, typer.Argument(metavar="[ID...]", help="As `messages list` shows them.")
]
_AllOption = Annotated[
    bool, typer.Option("--all", help="All that fit the filters; --state must be one of them.")
]
_DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Say how many, and change nothing.")]
_YesOption = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]
_RateOption = Annotated[
    float | None,
    typer.Option(parser=per_second, metavar="RATE", help="At most so many: 50/s, 600/m."),
]


@command.command("list")
def list_(
    *,
    state: StateOption = None,
    kind: KindOption = Kind.MESSAGE,
    sender: SenderOption = "",
    sid: SidOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
    before: Annotated[
        int | None, typer.Option(metavar="ID", help="Only older ones: the next page.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    store: StoreOption = None,
    reveal: _RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """Lists messages, newest first.

    Filters are combined: what is listed fits all of them.

    [bold]Examples[/]
      offhook messages list --state dead
      offhook messages list --sender +15551230001 --since 2h --json
    """
    wanted = Filter(state, kind, sender, sid, since, until, before, limit)
    records = asyncio.run(_list(settings_beside_dev(store), wanted, as_json=as_json, reveal=reveal))
    if as_json:
        return
    if not records:
        console().print("no messages", style="dim")
        return
    screen = console()
    screen.print(records_table(records, reveal=reveal, width=screen.width))
    if len(records) == limit:
        console(stderr=True).print(f"older ones: --before {records[-1].id}", style="dim")


@command.command()
def show(
    ids: _Ids,
    *,
    store: StoreOption = None,
    reveal: _RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """Shows messages with all that happened to them.

    Errors are shown by their type alone without --reveal: they may quote what people wrote.

    [bold]Examples[/]
      offhook messages show 17
      offhook messages show 17 --reveal
    """
    histories = asyncio.run(_show(settings_beside_dev(store), ids))
    screen = console()
    for history in histories:
        if as_json:
            print_json(history_object(history, reveal=reveal))
        else:
            print_history(screen, history, reveal=reveal)
    _complain_of_missing(ids, {history.record.id for history in histories})


@command.command()
def replay(
    ids: _SomeIds = None,
    *,
    every: _AllOption = False,
    state: StateOption = None,
    kind: KindOption = Kind.MESSAGE,
    sender: SenderOption = "",
    sid: SidOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
    rate: _RateOption = None,
    dry_run: _DryRunOption = False,
    yes: _YesOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Has messages handled again, at the tail of their conversations.

    One that waits for its next attempt is tried at once, in its place, and its attempts count anew.
    Replies that were sent already are not sent again. Many are replayed in the order they came in,
    50 a second unless --rate says otherwise: each is a run of your handler. Ctrl-C ends it at any
    moment; the rest stay as they were.

    [bold]Examples[/]
      offhook messages replay 17 18 19
      offhook messages replay --all --state waiting
      offhook messages replay --all --state dead --since 2h --dry-run
      offhook messages replay --all --state dead --since 2h --rate 10/s --yes
    """
    wanted = Filter(state, kind, sender, sid, since, until)
    selection = Selection(
        ids or [], wanted, every=every, dry_run=dry_run, sure=yes, rate=rate or REPLAYS_PER_SECOND
    )
    change(
        Change("replay", "replayed", lambda inbox, id_: inbox.replay(id_)),
        selection,
        settings_beside_dev(store),
        as_json=as_json,
    )


@command.command()
def discard(
    ids: _SomeIds = None,
    *,
    every: _AllOption = False,
    state: StateOption = None,
    kind: KindOption = Kind.MESSAGE,
    sender: SenderOption = "",
    sid: SidOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
    rate: _RateOption = None,
    dry_run: _DryRunOption = False,
    yes: _YesOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Discards messages that are not running.

    They are not handled any more, unless they are replayed.

    [bold]Examples[/]
      offhook messages discard 17
      offhook messages discard --all --state dead --until 7d --yes
    """
    wanted = Filter(state, kind, sender, sid, since, until)
    selection = Selection(ids or [], wanted, every=every, dry_run=dry_run, sure=yes, rate=rate)
    change(
        Change("discard", "discarded", lambda inbox, id_: inbox.drop(id_)),
        selection,
        settings_beside_dev(store),
        as_json=as_json,
    )


async def _list(settings: Settings, wanted: Filter, *, as_json: bool, reveal: bool) -> list[Record]:
    """Print objects as they come, or return the records for a table."""
    records: list[Record] = []
    async with existing(settings) as store:
        async for page in pages(store, wanted):
            if as_json:
                for record in page:
                    print_json(record_object(record, reveal=reveal))
            else:
                records += page
    return records


async def _show(settings: Settings, ids: list[int]) -> list[History]:
    async with existing(settings) as store:
        found = [await store.show(id_) for id_ in ids]
    return [history for history in found if history is not None]


def _complain_of_missing(ids: list[int], found: set[int]) -> None:
    missing = [str(id_) for id_ in ids if id_ not in found]
    if missing:
        console(stderr=True).print(f"there is no message {', '.join(missing)}", style="red")
        raise typer.Exit(1)
