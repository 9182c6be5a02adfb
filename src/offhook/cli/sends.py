"""`offhook sends`: the replies and notices of the ledger, for operators."""

import asyncio
from dataclasses import replace
from typing import Annotated

import typer

from offhook.cli.changes import NO_LIMIT, Operation, RateOption, Selection, change
from offhook.cli.options import (
    DryRunOption,
    JsonOption,
    LimitOption,
    RevealOption,
    StoreOption,
    YesOption,
    choice,
    parse_id,
    parse_time,
    with_options_of,
)
from offhook.cli.sends_view import print_send, send_object, sends_table
from offhook.cli.stores import existing, settings_beside_dev
from offhook.core.lifecycle import SendState, SendTrigger, send_sources
from offhook.settings import Settings
from offhook.stores import bulk
from offhook.stores.api import SendFilter, SendRecord, Store
from offhook.stores.bulk import RETRIES_PER_SECOND, pages
from offhook.terminal import complain, console, print_json

command = typer.Typer(
    help="List, show, retry and cancel replies.\n\nWithout --reveal, numbers are masked and texts "
    "hidden. No handler runs.\n\n[bold]Examples[/]\n  offhook sends list --state undelivered",
    no_args_is_help=True,
)

_Ids = Annotated[
    list[int],
    typer.Argument(parser=parse_id, metavar="ID...", help="As `sends list` shows them."),
]
_SomeIds = Annotated[
    list[int] | None,
    typer.Argument(parser=parse_id, metavar="[ID...]", help="As `sends list` shows them."),
]
_AllOption = Annotated[
    bool, typer.Option("--all", help="All replies that match the filters; --state is required.")
]
_StateOption = Annotated[
    SendState | None,
    choice(list(SendState), "STATE", "Only replies in this state"),
]
_DeliveryOption = Annotated[
    str, typer.Option(metavar="STATUS", help="Only with this status of Twilio's: delivered, read.")
]
_CodeOption = Annotated[
    str, typer.Option(metavar="CODE", help="Only with this error code of Twilio's: 63016.")
]
_SenderOption = Annotated[
    str,
    typer.Option(
        metavar="NUMBER",
        help="Only from this number of yours, in full and with its channel, or Messaging Service.",
    ),
]
_ToOption = Annotated[
    str, typer.Option(metavar="NUMBER", help="Only to this number, in full, on any channel.")
]
_AccountOption = Annotated[
    str, typer.Option(metavar="SID", help="Only of this account, if several are served.")
]
_SinceOption = Annotated[
    float | None,
    typer.Option(parser=parse_time, metavar="TIME", help="Written at or after: 10m, 2026-11-24."),
]
_UntilOption = Annotated[
    float | None, typer.Option(parser=parse_time, metavar="TIME", help="Written before.")
]


def _filter(
    *,
    state: _StateOption = None,
    delivery: _DeliveryOption = "",
    code: _CodeOption = "",
    sender: _SenderOption = "",
    to: _ToOption = "",
    account: _AccountOption = "",
    since: _SinceOption = None,
    until: _UntilOption = None,
) -> SendFilter:
    return SendFilter(state, delivery, code, sender, to, since, until, account=account)


@command.command("list")
@with_options_of(_filter)
def list_(
    *,
    wanted: SendFilter,
    before: Annotated[
        int | None,
        typer.Option(
            parser=parse_id, metavar="ID", help="Only replies older than this one: the next page."
        ),
    ] = None,
    limit: LimitOption = 50,
    store: StoreOption = None,
    reveal: RevealOption = False,
    as_json: JsonOption = False,
) -> None:
    """List replies and notices, newest first.

    Only those that match all filters are listed.

    [bold]Examples[/]
      offhook sends list --state undelivered --code 63016
      offhook sends list --state pending --sender whatsapp:+15005550006 --json
    """
    wanted = replace(wanted, before_id=before, limit=limit)
    records = asyncio.run(_list(settings_beside_dev(store), wanted, as_json=as_json, reveal=reveal))
    if as_json:
        return
    if not records:
        console().print("no replies", style="dim")
        return
    screen = console()
    screen.print(sends_table(records, reveal=reveal, width=screen.width))
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
    """Show replies, with what Twilio's error codes mean.

    `messages show` has the message that each answers.

    [bold]Examples[/]
      offhook sends show 17
      offhook sends show 17 --reveal
    """
    records = asyncio.run(_show(settings_beside_dev(store), ids))
    screen = console()
    for record in records:
        if as_json:
            print_json(send_object(record, reveal=reveal))
        else:
            print_send(screen, record, reveal=reveal)
    missing = [str(id_) for id_ in ids if id_ not in {record.id for record in records}]
    if missing:
        complain(f"there is no reply {', '.join(missing)}")
        raise typer.Exit(1)


@command.command()
@with_options_of(_filter)
def retry(
    ids: _SomeIds = None,
    *,
    every: _AllOption = False,
    wanted: SendFilter,
    unknown: Annotated[
        bool,
        typer.Option(
            "--unknown",
            help="Also replies that the person may have received, and would receive twice.",
        ),
    ] = False,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send refused or undelivered replies again, and pending ones at once.

    No handler runs: the text is the one that was written. Replies of a conversation are sent in
    their order, behind what goes before them. A pending or failed reply keeps its number. One that
    was not delivered was accepted by Twilio, so it is sent as another reply, once: it is `replaced`
    then. Replies are retried in the order they were written, 50 a second unless --rate is given.
    Ctrl-C stops; the remaining replies are not changed.

    [bold]Examples[/]
      offhook sends retry 17 18
      offhook sends retry --all --state pending --code 63038
      offhook sends retry --all --state undelivered --since 2h --dry-run
      offhook sends retry --all --state unknown --unknown --yes
    """
    _check(wanted.state, SendTrigger.RETRY, SendTrigger.REPLACE)
    if every and wanted.state is SendState.UNKNOWN and not unknown:
        raise typer.BadParameter(
            "people may have had these replies: add --unknown to send them all the same"
        )

    async def act(store: Store, id_: int) -> int | None:
        return await store.retry_send(id_, unknown=unknown)

    selection = _selection(ids, wanted, every=every, dry_run=dry_run, sure=yes, rate=rate)
    change(
        Operation("retry", "retried", act, _why_not, RETRIES_PER_SECOND),
        selection,
        settings_beside_dev(store),
        as_json=as_json,
    )


@command.command()
@with_options_of(_filter)
def cancel(
    ids: _SomeIds = None,
    *,
    every: _AllOption = False,
    wanted: SendFilter,
    rate: RateOption = None,
    dry_run: DryRunOption = False,
    yes: YesOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw replies that are not sent yet, and leave others that were refused or not delivered.

    They are not sent (again), and no longer count as a problem. A scheduled reply is withdrawn
    together with the other parts of a long text.

    [bold]Examples[/]
      offhook sends cancel 17
      offhook sends cancel --all --state undelivered --code 30003 --until 1d --yes
    """
    _check(wanted.state, SendTrigger.CANCEL, SendTrigger.DISMISS)
    selection = _selection(ids, wanted, every=every, dry_run=dry_run, sure=yes, rate=rate)
    change(
        Operation("cancel", "cancelled", _cancel, _why_not),
        selection,
        settings_beside_dev(store),
        as_json=as_json,
    )


def _check(state: SendState | None, *triggers: SendTrigger) -> None:
    """Refuse a state in which nothing could be done."""
    allowed = frozenset[SendState]().union(*map(send_sources, triggers))
    if state is not None and state not in allowed:
        names = ", ".join(one for one in SendState if one in allowed)
        raise typer.BadParameter(f"a reply that is {state} does not allow this; only: {names}")


def _selection(
    ids: list[int] | None,
    wanted: SendFilter,
    *,
    every: bool,
    dry_run: bool,
    sure: bool,
    rate: float | None,
) -> Selection[SendRecord]:
    return Selection(
        "replies",
        ids or [],
        lambda store: bulk.sends(store, replace(wanted, limit=NO_LIMIT)),
        is_filtered=wanted != SendFilter(),
        has_state=wanted.state is not None,
        every=every,
        dry_run=dry_run,
        sure=sure,
        rate=rate,
        as_object=lambda record: send_object(record, reveal=False),
        as_table=lambda records, width: sends_table(records, reveal=False, width=width),
    )


async def _cancel(store: Store, id_: int) -> int | None:
    return id_ if await store.cancel_send(id_) else None


async def _why_not(store: Store, id_: int) -> str:
    record = await store.show_send(id_)
    if record is None:
        return "there is no such reply"
    match record.state:
        case SendState.UNKNOWN:
            return "it is unknown: the person may have had it (see --unknown of `sends retry`)"
        case SendState.REPLACED:
            return "another reply has taken its place"
        case SendState.SENDING | SendState.SENT | SendState.CANCELED:
            return f"it is {record.state}"
        case _:
            return (
                "its text was not kept (OFFHOOK_KEEP_BODIES), or the person opted out, or wrote "
                "first, while it was being sent"
            )


async def _list(
    settings: Settings, wanted: SendFilter, *, as_json: bool, reveal: bool
) -> list[SendRecord]:
    """Print objects page by page, or return the records for a table."""
    records: list[SendRecord] = []
    async with existing(settings) as store:
        async for page in pages(bulk.sends(store, wanted)):
            if as_json:
                for record in page:
                    print_json(send_object(record, reveal=reveal))
            else:
                records += page
    return records


async def _show(settings: Settings, ids: list[int]) -> list[SendRecord]:
    async with existing(settings) as store:
        found = [await store.show_send(id_) for id_ in ids]
    return [record for record in found if record is not None]
