"""Plots as SVG: small text files that browsers and GitHub display."""

import math
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from typing import Final

from offhook.bench.results import Histogram

_WIDTH, _HEIGHT = 860, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 70, 270, 44, 48
# Distinguishable with colour blindness: https://jfly.uni-koeln.de/color/
_COLOURS: Final = (
    "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#555555", "#8a6d00",
)  # fmt: skip
_NINES: Final = (0.0, 90.0, 99.0, 99.9, 99.99)
_TEXT: Final = 'font-family="system-ui, sans-serif" font-size="12" fill="#333"'


def latencies(title: str, series: Mapping[str, Histogram]) -> str:
    """Return a plot of latencies by percentile, with the tail stretched as HdrHistogram does."""
    return curves(title, {name: points(times) for name, times in series.items()})


def points(times: Histogram) -> list[tuple[float, float]]:
    """Return percentiles and their seconds, denser towards the tail."""
    percents = [100 - 100 * 10 ** (-step / 12) for step in range(4 * 12 + 1)]
    return [(percent, times.percentile(percent)) for percent in percents]


def curves(title: str, series: Mapping[str, Sequence[tuple[float, float]]]) -> str:
    """Return a plot of points of percentile and seconds; seconds on a logarithmic axis."""
    found = [seconds for line in series.values() for _, seconds in line if seconds > 0]
    low = 10 ** math.floor(math.log10(min(found, default=1e-3)))
    high = 10 ** math.ceil(math.log10(max(found, default=1e-3)) + 1e-9)
    high = max(high, low * 10)

    def x(percent: float) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * -math.log10(1 - min(percent, 99.99) / 100) / 4

    def y(seconds: float) -> float:
        share = math.log(max(seconds, low) / low) / math.log(high / low)
        return _HEIGHT - _BOTTOM - (_HEIGHT - _TOP - _BOTTOM) * share

    parts = [_upright(x(percent), f"{percent:g} %") for percent in _NINES]
    for exponent in range(round(math.log10(low)), round(math.log10(high)) + 1):
        seconds = 10.0**exponent
        label = f"{seconds * 1000:g} ms"
        parts.append(_level(y(seconds), label))
    for number, (name, line) in enumerate(series.items()):
        colour = _COLOURS[number % len(_COLOURS)]
        dashes = ' stroke-dasharray="6 3"' if number >= len(_COLOURS) else ""
        path = " ".join(f"{x(percent):.1f},{y(seconds):.1f}" for percent, seconds in line)
        parts.append(
            f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2"{dashes}/>'
        )
        parts.append(_legend(number, name, colour))
    return _svg(title, _HEIGHT, parts)


def bars(title: str, values: Mapping[str, float], unit: str) -> str:
    """Return a plot of one bar for each value, in their order."""
    most = max(values.values(), default=0.0) or 1.0
    height = _TOP + 28 * len(values) + 16
    parts = []
    for number, (name, value) in enumerate(values.items()):
        top = _TOP + 28 * number
        width = (_WIDTH - 400) * value / most
        parts.append(
            f'<text x="262" y="{top + 14}" text-anchor="end" {_TEXT}>{escape(name)}</text>'
        )
        parts.append(
            f'<rect x="270" y="{top}" width="{width:.1f}" height="20" fill="{_COLOURS[0]}"/>'
        )
        parts.append(
            f'<text x="{276 + width:.1f}" y="{top + 14}" {_TEXT}>{value:,.0f} {escape(unit)}</text>'
        )
    return _svg(title, height, parts)


def _upright(x: float, label: str) -> str:
    bottom = _HEIGHT - _BOTTOM
    return (
        f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{bottom}" stroke="#ddd"/>'
        f'<text x="{x:.1f}" y="{bottom + 18}" text-anchor="middle" {_TEXT}>{label}</text>'
    )


def _level(y: float, label: str) -> str:
    return (
        f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{_WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#ddd"/>'
        f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" {_TEXT}>{label}</text>'
    )


def _legend(number: int, name: str, colour: str) -> str:
    left, top = _WIDTH - _RIGHT + 14, _TOP + 8 + 20 * number
    return (
        f'<rect x="{left}" y="{top - 4}" width="14" height="4" fill="{colour}"/>'
        f'<text x="{left + 20}" y="{top + 2}" {_TEXT}>{escape(name)}</text>'
    )


def _svg(title: str, height: int, parts: Iterable[str]) -> str:
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" role="img">',
            f"<title>{escape(title)}</title>",
            f'<rect width="{_WIDTH}" height="{height}" fill="#fff"/>',
            f'<text x="20" y="24" {_TEXT} font-weight="bold">{escape(title)}</text>',
            *parts,
            "</svg>\n",
        ]
    )
