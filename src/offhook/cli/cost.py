"""What replies cost, for `offhook stats --cost`."""

import asyncio
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Annotated, Any, Final

import typer
from rich.table import Table

from offhook.cli.options import parsed
from offhook.cli.stores import existing
from offhook.core.cost import Spending, Spent, in_units
from offhook.core.values import integer
from offhook.observe.redaction import mask, printable
from offhook.settings import Settings
from offhook.terminal import console, print_json

CostOption = Annotated[bool, typer.Option("--cost", help="Sum up segments and prices instead.")]
DAYS: Final = 7
DaysOption = Annotated[
    int | None,
    typer.Option(
        parser=parsed(integer(1, 366)),
        metavar="DAYS",
        help=f"With --cost: days to sum up ({DAYS}).",
    ),
]

_DAY: Final = 86_400
_SHOWN: Final = 10  # conversations, those with the most segments


def show_cost(settings: Settings, days: int, *, reveal: bool, as_json: bool) -> None:
    """Print what replies cost, today and in the days before it (UTC)."""
    since = (int(time.time()) // _DAY - days + 1) * _DAY
    found = asyncio.run(_spending(settings, since))
    if as_json:
        print_json(_object(found, reveal=reveal))
        return
    screen = console()
    for table in _tables(found, reveal=reveal):
        screen.print(table)


async def _spending(settings: Settings, since: float) -> Spending:
    async with existing(settings) as store:
        return await store.spending(since, _SHOWN)


def _object(found: Spending, *, reveal: bool) -> dict[str, Any]:
    return {
        "days": [{"day": _day(one.day), **_sums(one.spent)} for one in found.days],
        "conversations": [
            {
                "from": _address(one.sender, reveal=reveal),
                "to": _address(one.to, reveal=reveal),
                **_sums(one.spent),
            }
            for one in found.conversations
        ],
    }


def _sums(spent: Spent) -> dict[str, Any]:
    return {
        "replies": spent.sends,
        "segments": spent.segments,
        "priced": spent.priced,
        "price": in_units(spent.price) if spent.priced else None,
        "currency": spent.currency or None,
    }


def _tables(found: Spending, *, reveal: bool) -> Iterator[Table]:
    by_day = _table("day")
    for day in found.days:
        by_day.add_row(_day(day.day), *_cells(day.spent))
    yield by_day
    by_conversation = _table("conversation")
    for one in found.conversations:
        pair = f"{_address(one.sender, reveal=reveal)} to {_address(one.to, reveal=reveal)}"
        by_conversation.add_row(pair, *_cells(one.spent))
    if found.conversations:
        yield by_conversation


def _table(what: str) -> Table:
    table = Table(box=None, pad_edge=False)
    table.add_column(what, no_wrap=True)
    for name in ("replies", "segments", "with a price", "price"):
        table.add_column(name, justify="right")
    return table


def _cells(spent: Spent) -> tuple[str, str, str, str]:
    price = f"{in_units(spent.price)} {spent.currency}" if spent.priced else ""
    return f"{spent.sends:,}", f"{spent.segments:,}", f"{spent.priced:,}", price


def _day(moment: int) -> str:
    return f"{datetime.fromtimestamp(moment, UTC):%Y-%m-%d}"


def _address(address: str, *, reveal: bool) -> str:
    return printable(address if reveal else mask(address))
