"""Line charts as SVG paths."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from offhook.web.design.formats import FORMS

WIDTH: Final = 560
HEIGHT: Final = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 8, 10, 24
_GAP: Final = 4  # missing values that a line bridges; more interrupt it
_FLOOR: Final = 0.0001  # seconds; the lower end of the logarithmic axis
_MARKS: Final = ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"))


@dataclass(frozen=True, slots=True)
class Line:
    """One line of a chart.

    Attributes:
        name: of its series.
        path: SVG path data.
        dots: points without neighbours.
        last: its latest value.
    """

    name: str
    path: str
    dots: tuple[tuple[float, float], ...]
    last: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """A chart of several lines.

    Attributes:
        marks: y coordinates and labels of the vertical axis.
        times: x coordinates, labels, anchors, moments and their forms, of the horizontal axis.
        limit: the y coordinate of the budget.
    """

    lines: tuple[Line, ...]
    marks: tuple[tuple[float, str], ...]
    times: tuple[tuple[float, str, str, float, str], ...]
    limit: float | None = None

    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM

    @property
    def is_empty(self) -> bool:
        """Whether no line has a value."""
        return all(line.last is None for line in self.lines)


Series = dict[str, Sequence[float | None]]


def durations(series: Series, ends: Sequence[float], limit: float) -> Chart:
    """Return a chart of durations on a logarithmic axis.

    Args:
        series: by name.
        ends: the end of each value's interval.
        limit: the budget, in seconds.
    """
    highest = max([limit * 2, *_known(series)])

    def height(seconds: float) -> float:
        share = math.log(max(seconds, _FLOOR) / _FLOOR) / math.log(highest / _FLOOR)
        return _up(share)

    marks = tuple((height(at), name) for at, name in _MARKS if at <= highest)
    lines = tuple(_line(name, values, height) for name, values in series.items())
    return Chart(lines, marks, _times(ends), height(limit))


def amounts(series: Series, ends: Sequence[float]) -> Chart:
    """Return a chart of amounts on a linear axis."""
    step = _step(max([1.0, *_known(series)]))
    highest = step * 4

    def height(value: float) -> float:
        return _up(value / highest)

    marks = tuple((height(n * step), f"{n * step:,.0f}") for n in range(5))
    lines = tuple(_line(name, values, height) for name, values in series.items())
    return Chart(lines, marks, _times(ends))


def _known(series: Series) -> list[float]:
    return [value for values in series.values() for value in values if value is not None]


def _step(highest: float) -> float:
    """Return the smallest round number of which four reach the highest value."""
    unit = 10.0 ** math.floor(math.log10(max(highest, 4) / 4))
    return next(unit * n for n in (1, 2, 5, 10) if unit * n * 4 >= highest)


def _up(share: float) -> float:
    room = HEIGHT - _TOP - _BOTTOM
    return round(HEIGHT - _BOTTOM - share * room, 1)


def _across(number: int, count: int) -> float:
    return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (number + 1) / count, 1)


def _line(name: str, values: Sequence[float | None], height: Callable[[float], float]) -> Line:
    """Draw a line, interrupted where more than `_GAP` values are missing."""
    parts: list[list[tuple[float, float]]] = []
    before = -len(values) - _GAP
    for number, value in enumerate(values):
        if value is None:
            continue
        if number - before > _GAP:
            parts.append([])
        parts[-1].append((_across(number, len(values)), height(value)))
        before = number
    strokes = [part for part in parts if len(part) > 1]
    path = "".join("M" + "L".join(f"{x} {y}" for x, y in part) for part in strokes)
    dots = tuple(part[0] for part in parts if len(part) == 1)
    known = [value for value in values if value is not None]
    return Line(name, path, dots, known[-1] if known else None)


def _times(ends: Sequence[float]) -> tuple[tuple[float, str, str, float, str], ...]:
    count = len(ends)
    if not count:
        return ()
    places = ((count // 3 - 1, "middle"), (2 * count // 3 - 1, "middle"), (count - 1, "end"))
    form = "seconds" if ends[-1] - ends[0] < 600 else "clock"  # noqa: PLR2004 - ten minutes
    return tuple(
        (_across(number, count), FORMS[form](ends[number]), anchor, ends[number], form)
        for number, anchor in places
    )
