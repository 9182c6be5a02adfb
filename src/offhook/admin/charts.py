"""Lines over time, as SVG draws them."""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

WIDTH: Final = 560
HEIGHT: Final = 190
_LEFT, _RIGHT, _TOP, _BOTTOM = 60, 8, 10, 24
_GAP: Final = 4  # values that may be missing before a line is lifted
_FLOOR: Final = 0.0001  # seconds: nothing is acknowledged sooner
_MARKS: Final = ((0.001, "1 ms"), (0.01, "10 ms"), (0.1, "100 ms"), (1.0, "1 s"), (10.0, "10 s"))


@dataclass(frozen=True, slots=True)
class Line:
    """One line.

    Attributes:
        name: what it shows.
        path: SVG's.
        dots: the places that no line leads to or from.
        last: its latest value.
    """

    name: str
    path: str
    dots: tuple[tuple[float, float], ...]
    last: float | None


@dataclass(frozen=True, slots=True)
class Chart:
    """Several lines over the same time.

    Attributes:
        marks: heights and what they mean.
        times: places and when they are.
        limit: the height that should not be passed.
    """

    lines: tuple[Line, ...]
    marks: tuple[tuple[float, str], ...]
    times: tuple[tuple[float, str, str], ...]
    limit: float | None = None

    width: int = WIDTH
    height: int = HEIGHT
    left: int = _LEFT
    right: int = WIDTH - _RIGHT
    bottom: int = HEIGHT - _BOTTOM


Series = dict[str, Sequence[float | None]]


def durations(series: Series, ends: Sequence[float], limit: float) -> Chart:
    """Return a chart of seconds, in which ten times as long is one step higher.

    Args:
        series: by name.
        ends: of the stretches of time that the values are of.
        limit: what should not be passed.
    """
    highest = max([limit * 2, *_known(series)])

    def height(seconds: float) -> float:
        share = math.log(max(seconds, _FLOOR) / _FLOOR) / math.log(highest / _FLOOR)
        return _up(share)

    marks = tuple((height(at), name) for at, name in _MARKS if at <= highest)
    lines = tuple(_line(name, values, height) for name, values in series.items())
    return Chart(lines, marks, _times(ends), height(limit))


def amounts(series: Series, ends: Sequence[float]) -> Chart:
    """Return a chart of numbers."""
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
    """Return a round number of which four reach as high."""
    unit = 10.0 ** math.floor(math.log10(max(highest, 4) / 4))
    return next(unit * n for n in (1, 2, 5, 10) if unit * n * 4 >= highest)


def _up(share: float) -> float:
    room = HEIGHT - _TOP - _BOTTOM
    return round(HEIGHT - _BOTTOM - share * room, 1)


def _across(number: int, count: int) -> float:
    return round(_LEFT + (WIDTH - _LEFT - _RIGHT) * (number + 1) / count, 1)


def _line(name: str, values: Sequence[float | None], height: Callable[[float], float]) -> Line:
    """Draw a line; where many values are missing, it is lifted."""
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


def _times(ends: Sequence[float]) -> tuple[tuple[float, str, str], ...]:
    count = len(ends)
    if not count:
        return ()
    places = ((count // 3 - 1, "middle"), (2 * count // 3 - 1, "middle"), (count - 1, "end"))
    form = "%H:%M:%S" if ends[-1] - ends[0] < 600 else "%H:%M"  # noqa: PLR2004 - ten minutes
    return tuple(
        (_across(number, count), time.strftime(form, time.localtime(ends[number])), anchor)
        for number, anchor in places
    )
