"""Tables that fit the terminal: long columns are shortened, optional ones left out."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

_GAP: Final = 2  # blanks between two columns


@dataclass(frozen=True, slots=True)
class Column:
    """A column with its cells.

    Attributes:
        floor: the width it may be shortened to; 0 to keep it whole.
        spare: the order in which columns are left out for lack of room, highest first; 0 for never.
        folds: wraps instead of being shortened.
        most: the maximum width; 0 for none.
    """

    heading: str
    cells: Sequence[Text]
    floor: int = 0
    spare: int = 0
    folds: bool = False
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


def fitted(columns: Sequence[Column], width: int) -> Table:
    """Return a table of the columns that fit in a width."""
    shown = list(columns)
    for column in sorted(columns, key=lambda one: -one.spare):
        if not column.spare or _sum(one.least for one in shown) <= width:
            break
        shown.remove(column)
    widths = _widths(shown, width)
    table = Table(box=None, pad_edge=False, padding=(0, _GAP, 0, 0), header_style="bold")
    for column in shown:
        table.add_column(
            column.heading,
            width=widths[column.heading],
            no_wrap=not column.folds,
            overflow="fold" if column.folds else "ellipsis",
            justify="right" if column.right else "left",
        )
    for cells in zip(*(column.cells for column in shown), strict=True):
        table.add_row(*cells)
    return table


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
