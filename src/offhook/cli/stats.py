"""`offhook stats`: messages and replies by state."""

import asyncio
from typing import Any

import typer
from rich.table import Table

from offhook.arrivals.waiting import counts
from offhook.cli.cost import DAYS, CostOption, DaysOption, show_cost
from offhook.cli.options import JsonOption, RevealOption, StoreOption
from offhook.cli.stores import existing, settings_beside_dev
from offhook.settings import Settings
from offhook.stores.api import Counts
from offhook.terminal import console, duration, print_json
from offhook.twilio.shortfalls import Shortfall, shortfalls


def command(
    *,
    cost: CostOption = False,
    days: DaysOption = None,
    reveal: RevealOption = False,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Count messages and replies by state.

    Webhooks are messages and delivery statuses; replies include notices. People are unanswered if
    their message has settled, and none of the replies to it has reached them. What has not been
    delivered is listed by Twilio's error code.

    With --cost: the segments and prices of what Twilio accepted, by the day on which it was
    written (UTC), and by conversation. Many have no price, as Twilio tells it later.

    [bold]Examples[/]
      offhook stats
      offhook stats --json
      offhook stats --cost --days 30
    """
    if not cost and (days is not None or reveal):
        raise typer.BadParameter("--days and --reveal need --cost")
    if cost:
        show_cost(settings_beside_dev(store), days or DAYS, reveal=reveal, as_json=as_json)
        return
    found = asyncio.run(_count(settings_beside_dev(store)))
    if as_json:
        print_json(
            {
                "messages": dict(found.messages),
                "sends": dict(found.sends),
                "oldest_seconds": found.oldest,
                "parked_seconds": found.parked,
                "replies_waiting": found.unsent,
                "oldest_reply_seconds": found.oldest_send,
                "people_unanswered": found.unanswered,
                "not_delivered": [_object(one) for one in shortfalls(found)],
                "received_last_minute": found.received,
                "settled_last_minute": found.settled,
            }
        )
    else:
        screen = console()
        screen.print(_table(found))
        for one in shortfalls(found):
            screen.print(f"{one.text}: {one.meaning}", style="red", markup=False, soft_wrap=True)
            screen.print(f"  offhook sends list {one.options}", style="dim", markup=False)


def _object(shortfall: Shortfall) -> dict[str, Any]:
    return {
        "state": shortfall.state,
        "code": shortfall.code or None,
        "number": shortfall.number,
        "meaning": shortfall.meaning,
    }


async def _count(settings: Settings) -> Counts:
    async with existing(settings) as store:
        return await counts(store)


def _table(counts: Counts) -> Table:
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(style="bold")
    table.add_column(justify="right")
    for name, number in counts.messages.items():
        table.add_row(f"webhooks {name}", f"{number:,}")
    table.add_section()
    for state, number in counts.sends.items():
        table.add_row(f"replies {state}", f"{number:,}")
    table.add_section()
    waited = "none" if counts.oldest is None else duration(counts.oldest)
    table.add_row("oldest waiting", waited)
    table.add_row("replies to be sent", f"{counts.unsent:,}" if counts.unsent else "none")
    if counts.oldest_send is not None:
        table.add_row("oldest reply to be sent", duration(counts.oldest_send))
    if counts.unanswered:
        table.add_row("people unanswered", f"{counts.unanswered:,}", style="red")
    if counts.parked is not None:
        table.add_row("longest parked", duration(counts.parked))
    table.add_row("received in the last minute", f"{counts.received:,}")
    table.add_row("settled in the last minute", f"{counts.settled:,}")
    return table
