"""Tables that fit the terminal: long columns are shortened, optional ones left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_GAP: Final = 2  # blanks between two columns
_COMFORT: Final = 30  # the width of a few words
_NUMBER: Final = len("+1555***0001")
_ADDRESS: Final = 24  # "whatsapp:+4915112345678" fits


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its cells.

    Attributes:
        floor: the width it may be shortened to; 0 to keep it whole.
        spare: the order in which columns are left out for lack of room, highest first; 0 for never.
        extra: left out also where the others would otherwise be shortened below `_COMFORT`.
        from_end: keeps its end when it is shortened, as what tells one number from another.
        most: the maximum width; 0 for none.
    """

    heading: str
    cells: Sequence[Text]
    floor: int = 0
    spare: int = 0
    extra: bool = False
    from_end: bool = False
    most: int = 0
    right: bool = False

    @property
    def natural(self) -> int:
        """The preferred width."""
        widest = max(map(cell_len, (self.heading, *(cell.plain for cell in self.cells))))
        return min(widest, self.most) if self.most else widest

    @property
    def least(self) -> int:
        """The minimum width."""
        return min(self.natural, max(self.floor, len(self.heading))) if self.floor else self.natural


def address_column(
    heading: str, cells: Sequence[Text], *, spare: int, extra: bool = False
) -> Column:
    """Return a column of addresses, of which a number without its channel fits at least."""
    return Column(heading, cells, _NUMBER, spare, extra, from_end=True, most=_ADDRESS)


def fitted(columns: Sequence[Column], width: int) -> Table:
    """Return a table of the columns that fit in a width."""
    shown = list(columns)
    for column in sorted(columns, key=lambda one: -one.spare):
        comfort = _COMFORT if column.extra else 0
        needed = _sum(max(one.least, min(one.natural, comfort)) for one in shown)
        if not column.spare or needed <= width:
            break
        shown.remove(column)
    widths = _widths(shown, width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in shown:
        table.add_column(
            column.heading,
            width=widths[column.heading],
            no_wrap=True,
            overflow="ellipsis",
            justify="right" if column.right else "left",
        )
    for cells in zip(
        *(_shortened(column, widths[column.heading]) for column in shown), strict=True
    ):
        table.add_row(*cells)
    return table


def _shortened(column: Column, width: int) -> Sequence[Text]:
    return [_end(cell, width) for cell in column.cells] if column.from_end else column.cells


def _end(cell: Text, width: int) -> Text:
    """Return as much of the end of a text as a width has room for."""
    plain = cell.plain
    if cell_len(plain) <= width:
        return cell
    while plain and cell_len(plain) >= width:
        plain = plain[1:]
    return Text(f"…{plain}", cell.style)


def _widths(columns: Sequence[Column], width: int) -> dict[str, int]:
    """Return the width of each column, shortening the widest first."""
    widths = {column.heading: column.natural for column in columns}
    least = {column.heading: column.least for column in columns}
    while _sum(widths.values()) > width:
        giving = [name for name in widths if widths[name] > least[name]]
        if not giving:
            break
        widths[max(giving, key=lambda name: widths[name])] -= 1
    return widths


def _sum(widths: Iterable[int]) -> int:
    each = list(widths)
    return sum(each) + _GAP * (len(each) - 1)
