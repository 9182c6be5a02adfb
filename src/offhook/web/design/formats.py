"""Format times, durations and numbers for pages."""

import time
from collections.abc import Callable, Mapping
from typing import Any, Final

from markupsafe import Markup


def milliseconds(seconds: float) -> str:
    """Return a duration: `3.2 ms`, `850 ms`, `1.4 s`."""
    if seconds >= 1:
        return f"{seconds:.1f}\u00a0s"
    return f"{seconds * 1000:.1f}\u00a0ms" if seconds < 0.01 else f"{seconds * 1000:.0f}\u00a0ms"  # noqa: PLR2004 - a decimal below 10 ms


def clock(moment: float) -> str:
    """Return the time of day, on this machine's clock."""
    return time.strftime("%H:%M", time.localtime(moment))


def clock_exact(moment: float) -> str:
    """Return the time of day with its milliseconds."""
    return f"{time.strftime('%H:%M:%S', time.localtime(moment))}.{int(moment % 1 * 1000):03}"


def clock_seconds(moment: float) -> str:
    """Return the time of day to the second."""
    return time.strftime("%H:%M:%S", time.localtime(moment))


def day_clock(moment: float) -> str:
    """Return the date and the time of day; today, the time only."""
    day, today = time.localtime(moment), time.localtime()
    if day[:3] == today[:3]:
        return clock_seconds(moment)
    return time.strftime("%-d %b %H:%M" if day[0] == today[0] else "%-d %b %Y %H:%M", day)


def span(seconds: float) -> str:
    """Return a duration in its two largest units: `3 s`, `2 h 5 min`."""
    rest = int(seconds)
    parts: list[str] = []
    for unit, size in (("d", 86_400), ("h", 3_600), ("min", 60), ("s", 1)):
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}\u00a0{unit}")
        elif parts:
            break
    return " ".join(parts[:2]) or "less than a second"


def number(value: float) -> str:
    """Return a number with thousands separators."""
    return f"{value:,.0f}"


def iso(moment: float) -> str:
    """Return a time in ISO 8601, in UTC."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(moment))


FORMS: Final[Mapping[str, Callable[[float], str]]] = {
    "ago": day_clock,
    "clock": clock,
    "day": day_clock,
    "full": iso,
    "seconds": clock_seconds,
}
"""The forms of a moment, as seen without scripts."""


def moment(at: float, form: str = "day") -> Markup:
    """Return an element with a moment, which /design/times.js shows in the reader's time zone."""
    return Markup('<time datetime="{}" data-at="{:.3f}" data-form="{}">{}</time>').format(
        iso(at), at, form, FORMS[form](at)
    )


FILTERS: Final[Mapping[str, Any]] = {
    "day_clock": day_clock,
    "iso": iso,
    "moment": moment,
    "number": number,
    "span": span,
    "milliseconds": milliseconds,
    "clock": clock,
    "clock_exact": clock_exact,
    "clock_seconds": clock_seconds,
}
