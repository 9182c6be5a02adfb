"""`offhook messages`: the inbox, for operators."""

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated

import typer

from offhook.cli.moments import moment
from offhook.cli.options import JsonOption, StoreOption
from offhook.cli.output import console, print_json
from offhook.cli.records import history_object, print_history, record_object, records_table
from offhook.cli.stores import existing, store_url
from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.ports import Filter, History, Inbox, Record

command = typer.Typer(
    help="Lists, shows, replays, discards messages.\n\nNumbers are masked and texts hidden "
    "without --reveal.",
    no_args_is_help=True,
)

_RevealOption = Annotated[
    bool, typer.Option("--reveal", help="Show numbers, and what people wrote.")
]
_Ids = Annotated[list[int], typer.Argument(metavar="ID...", help="As `messages list` shows them.")]


@command.command("list")
def list_(
    *,
    state: Annotated[State | None, typer.Option(help="Only those in this state.")] = None,
    kind: Annotated[Kind, typer.Option(help="Messages, or delivery statuses.")] = Kind.MESSAGE,
    sender: Annotated[
        str, typer.Option(metavar="NUMBER", help="Only from this number, in full.")
    ] = "",
    sid: Annotated[str, typer.Option(help="Only with this MessageSid.")] = "",
    since: Annotated[
        float | None,
        typer.Option(
            parser=moment, metavar="TIME", help="Received then or later: 10m, 2026-11-24."
        ),
    ] = None,
    until: Annotated[
        float | None, typer.Option(parser=moment, metavar="TIME", help="Received before.")
    ] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 50,
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
    wanted = Filter(
        state=state, kind=kind, sender=sender, sid=sid, since=since, until=until, limit=limit
    )
    records = asyncio.run(_find(store_url(store), wanted))
    if as_json:
        for record in records:
            print_json(record_object(record, reveal=reveal))
    elif records:
        console().print(records_table(records, reveal=reveal))
    else:
        console().print("no messages", style="dim")


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
    histories = asyncio.run(_show(store_url(store), ids))
    screen = console()
    for history in histories:
        if as_json:
            print_json(history_object(history, reveal=reveal))
        else:
            print_history(screen, history, reveal=reveal)
    _complain_of_missing(ids, {history.record.id for history in histories})


@command.command()
def replay(ids: _Ids, *, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Has messages handled again, at the tail of their conversations.

    Replies that were sent already are not sent again.

    [bold]Examples[/]
      offhook messages replay 17 18 19
    """
    _each(store_url(store), ids, lambda inbox, id_: inbox.replay(id_), "replayed", as_json)


@command.command()
def discard(ids: _Ids, *, store: StoreOption = None, as_json: JsonOption = False) -> None:
    """Discards messages that are not running.

    They are not handled any more, unless they are replayed.

    [bold]Examples[/]
      offhook messages discard 17
    """
    _each(store_url(store), ids, lambda inbox, id_: inbox.drop(id_), "discarded", as_json)


_Act = Callable[[Inbox, int], Awaitable[bool]]


def _each(url: str, ids: list[int], act: _Act, done: str, as_json: bool) -> None:
    """Act on each message, print what came of it, and exit 1 unless all went well."""
    outcomes = asyncio.run(_act_on(url, ids, act))
    screen = console()
    for id_, outcome in outcomes.items():
        if as_json:
            print_json({"id": id_, "ok": outcome == "", "error": outcome})
        elif outcome:
            screen.print(f"{id_} not {done}: {outcome}", style="red")
        else:
            screen.print(f"{id_} {done}")
    if any(outcomes.values()):
        raise typer.Exit(1)


async def _act_on(url: str, ids: list[int], act: _Act) -> dict[int, str]:
    """Return by id why it could not be done; empty where it was."""
    outcomes = {}
    async with existing(url) as store:
        for id_ in ids:
            done = await act(store, id_)
            history = None if done else await store.show(id_)
            if done:
                outcomes[id_] = ""
            else:
                outcomes[id_] = f"it is {history.record.state}" if history else "there is no such"
    return outcomes


async def _find(url: str, wanted: Filter) -> list[Record]:
    async with existing(url) as store:
        return list(await store.find(wanted))


async def _show(url: str, ids: list[int]) -> list[History]:
    async with existing(url) as store:
        found = [await store.show(id_) for id_ in ids]
    return [history for history in found if history is not None]


def _complain_of_missing(ids: list[int], found: set[int]) -> None:
    missing = [str(id_) for id_ in ids if id_ not in found]
    if missing:
        console(stderr=True).print(f"there is no message {', '.join(missing)}", style="red")
        raise typer.Exit(1)
