"""`offhook messages`: the stored messages, for operators."""

import asyncio
from dataclasses import replace
from typing import Annotated

import typer

from offhook.cli.changes import NO_LIMIT, Operation, RateOption, Selection, change
from offhook.cli.closed_windows import ClosedWindows
from offhook.cli.messages_erase import command as erase
from offhook.cli.messages_view import (
    ahead_in_words,
    history_object,
    print_history,
    record_object,
    records_table,
)
from offhook.cli.options import (
    DryRunOption,
    JsonOption,
    KindOption,
    LimitOption,
    RevealOption,
    SenderOption,
    SidOption,
    SinceOption,
    StateOption,
    StoreOption,
    UntilOption,
    YesOption,
    parse_id,
    with_options_of,
)
from offhook.cli.stores import existing, settings_beside_dev
from offhook.conversations.state import State, decoded
from offhook.core.keys import Kind
from offhook.settings import Settings
from offhook.stores import bulk
from offhook.stores.api import Filter, History, Inbox, Record, Store
from offhook.stores.bulk import REPLAYS_PER_SECOND, pages
from offhook.terminal import complain, console, print_json

command = typer.Typer(
    help="List, show, replay, discard and erase messages.\n\nWithout --reveal, numbers are masked "
    "and texts hidden.\n\n[bold]Examples[/]\n  offhook messages list --state dead",
    no_args_is_help=True,
)
command.command("erase")(erase)

_Ids = Annotated[
    list[int],
    typer.Argument(parser=parse_id, metavar="ID...", help="As `messages list` shows them."),
]
_SomeIds = Annotated[
    list[int] | None,
    typer.Argument(parser=parse_id, metavar="[ID...]", help="As `messages list` shows them."),
]
_AllOption = Annotated[
    bool, typer.Option("--all", help="All messages that match the filters; --state is required.")
]


def _filter(
    *,
    state: StateOption = None,
    kind: KindOption = Kind.MESSAGE,
    sender: SenderOption = "",
    sid: SidOption = "",
    since: SinceOption = None,
    until: UntilOption = None,
) -> Filter:
    return Filter(state, kind, sender, sid, since, until)


@command.command("list")
@with_options_of(_filter)
def list_(
    *,
    wanted: Filter,
    before: Annotated[
        int | None,
        typer.Option(
            parser=parse_id, metavar="ID", help="Only messages older than this one: the next page."
        ),
    ] = None,
    limit: LimitOption = 50,
    store: StoreOption = None,
    reveal: RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """List messages, newest first.

    Only messages that match all filters are listed.

    [bold]Examples[/]
      offhook messages list --state dead
      offhook messages list --sender +15551230001 --since 2h --json
    """
    wanted = replace(wanted, before_id=before, limit=limit)
    records = asyncio.run(_list(settings_beside_dev(store), wanted, as_json=as_json, reveal=reveal))
    if as_json:
        return
    if not records:
        console().print("no messages", style="dim")
        return
    screen = console()
    screen.print(records_table(records, reveal=reveal, width=screen.width))
    if len(records) == limit:
        console(stderr=True).print(f"next page: --before {records[-1].id}", style="dim")


@command.command()
def show(
    ids: _Ids,
    *,
    store: StoreOption = None,
    reveal: RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """Show messages with their attempts and replies, and what is kept of their conversation.

    Without --reveal, only the type of an error is shown: its text may quote a message.

    [bold]Examples[/]
      offhook messages show 17
      offhook messages show 17 --reveal
    """
    found = asyncio.run(_show(settings_beside_dev(store), ids))
    screen = console()
    for history, state in found:
        if as_json:
            print_json(history_object(history, state, reveal=reveal))
        else:
            print_history(screen, history, state, reveal=reveal)
    _complain_of_missing(ids, {history.record.id for history, _ in found})


@command.command()
@with_options_of(_filter)
def replay(
    ids: _SomeIds = None,
    *,
    every: _AllOption = False,
    wanted: Filter,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Replay messages, after the newer ones of the same conversation.

    A message that waits for its next attempt is retried at once, in its place, with a new count of
    attempts. Replies that were sent are not sent again. Messages are replayed in the order they
    were received, 50 a second unless --rate is given, because each runs your handler. Ctrl-C stops;
    the remaining messages are not changed. --dry-run also counts the messages whose replies would
    come after WhatsApp's 24-hour window.

    [bold]Examples[/]
      offhook messages replay 17 18 19
      offhook messages replay --all --state waiting
      offhook messages replay --all --state dead --since 2h --dry-run
      offhook messages replay --all --state dead --since 2h --rate 10/s --yes
    """
    selection = _selection(
        ids,
        wanted,
        every=every,
        dry_run=dry_run,
        sure=yes,
        rate=rate,
        survey=ClosedWindows(),
    )
    change(
        Operation("replay", "replayed", _replay, _why_not, REPLAYS_PER_SECOND),
        selection,
        settings_beside_dev(store),
        as_json=as_json,
    )


@command.command()
@with_options_of(_filter)
def discard(
    ids: _SomeIds = None,
    *,
    every: _AllOption = False,
    wanted: Filter,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Discard messages that are not running.

    They are not handled unless they are replayed.

    [bold]Examples[/]
      offhook messages discard 17
      offhook messages discard --all --state dead --until 7d --yes
    """
    selection = _selection(ids, wanted, every=every, dry_run=dry_run, sure=yes, rate=rate)
    change(
        Operation("discard", "discarded", _discard, _why_not),
        selection,
        settings_beside_dev(store),
        as_json=as_json,
    )


def _selection(
    ids: list[int] | None,
    wanted: Filter,
    *,
    every: bool,
    dry_run: bool,
    sure: bool,
    rate: float | None,
    survey: ClosedWindows | None = None,
) -> Selection[Record]:
    return Selection(
        "messages",
        ids or [],
        lambda store: bulk.messages(store, replace(wanted, limit=NO_LIMIT)),
        is_filtered=wanted != Filter(kind=wanted.kind),
        has_state=wanted.state is not None,
        every=every,
        dry_run=dry_run,
        sure=sure,
        rate=rate,
        as_object=lambda record: record_object(record, reveal=False),
        as_table=lambda records, width: records_table(records, reveal=False, width=width),
        survey=survey,
    )


async def _replay(store: Store, id_: int) -> int | None:
    return id_ if await store.replay(id_) else None


async def _discard(store: Store, id_: int) -> int | None:
    return id_ if await store.drop(id_) else None


async def _why_not(inbox: Inbox, id_: int) -> str:
    history = await inbox.show(id_)
    if history is None:
        return "there is no such message"
    if history.record.reduced:
        return "its text was not kept (OFFHOOK_KEEP_BODIES)"
    if history.behind is not None:
        return f"it waits behind {ahead_in_words(history.behind)}"
    return f"it is {history.record.state}"


async def _list(settings: Settings, wanted: Filter, *, as_json: bool, reveal: bool) -> list[Record]:
    """Print objects page by page, or return the records for a table."""
    records: list[Record] = []
    async with existing(settings) as store:
        async for page in pages(bulk.messages(store, wanted)):
            if as_json:
                for record in page:
                    print_json(record_object(record, reveal=reveal))
            else:
                records += page
    return records


async def _show(settings: Settings, ids: list[int]) -> list[tuple[History, State]]:
    """Return messages with the states of their conversations."""
    found = []
    async with existing(settings) as store:
        for id_ in ids:
            history = await store.show(id_)
            if history is not None:
                saved = await store.saved_state(history.record.lane)
                found.append((history, decoded(b"" if saved is None else saved.value)))
    return found


def _complain_of_missing(ids: list[int], found: set[int]) -> None:
    missing = [str(id_) for id_ in ids if id_ not in found]
    if missing:
        complain(f"there is no message {', '.join(missing)}")
        raise typer.Exit(1)
