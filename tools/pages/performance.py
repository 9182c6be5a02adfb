"""The tables and plots of docs/explanation/performance.md, from benchmarks/results/.

The tables are sections like the others; the plots are drawn by `tools.pages.plots`.
"""

from collections.abc import Iterator
from typing import Any, Final

from benchmarks.results import comparison as compared
from benchmarks.results import read
from benchmarks.targets import Judged, judge

_NOT_YET: Final = (
    "*Not measured yet: figures are committed only from a machine that has nothing else to do. "
    "`make bench-all`, then `make docs`, fill this in; `make bench ARGS=--quick` prints a first "
    "impression.*"
)


def machine() -> str:
    """Return on which machine the figures were made, and how."""
    found = results()
    if found is None:
        return _NOT_YET
    one = found["machine"]
    return (
        f"{_when(found)}. {one['processor']}, {one['cores']} cores, "
        f"{one['system']}, Python {one['python']}. Its own fsync of 4 KiB: p50 "
        f"{_milliseconds(one['fsync_p50'])}, p99 {_milliseconds(one['fsync_p99'])}. "
        f"{found['connections']} connections; {found['rounds']} rounds of "
        f"{found['seconds']:g} s for each loop, all in turn; medians. The generator alone: "
        f"{found['generator']:,.0f}/s."
    )


def comparison() -> str:
    """Return what was measured of each peer, as tables, with the plots."""
    found = results()
    if found is None:
        return _NOT_YET
    peers = list(found["peers"].values())
    return "\n".join([*_table(peers), "", *_failed(found), *_losses(peers), "", *_shown()])


def soak() -> str:
    """Return what the long run came to, and each minute of it."""
    found = read().get("soak")
    if found is None:
        return _command("make soak")
    rate, acknowledged = found["rate"], found["acknowledged"]
    return "\n".join(
        [
            f"{_when(found)}: {rate:,.0f} webhooks a second, {acknowledged:,} acknowledged.",
            "",
            *(f"- kept: {promise}" for promise in found["kept"]),
            *(f"- **broken**: {promise}" for promise in found["broken"]),
            "",
            "| minute | answers | wrong | p50 | p99 | memory | waiting |",
            "|--:|--:|--:|--:|--:|--:|--:|",
            *(_minute(number, one) for number, one in enumerate(found["minutes"], 1)),
        ]
    )


def users() -> str:
    """Return what came of many people at once."""
    found = read().get("users")
    if found is None:
        return _command("make users")
    times = ", ".join(f"{p} {_milliseconds(found[p])}" for p in ("p50", "p99", "p99.9"))
    return (
        f"{_when(found)}: {found['connections']:,} open connections, "
        f"{found['acknowledged']:,} of {found['conversations']:,} acknowledged, "
        f"{found['rate']:,.0f} a second; {times}."
    )


def targets() -> str:
    """Return the design's targets beside what was measured."""
    rows = [
        "| target | aimed at | measured | |",
        "|---|---|---|---|",
        *map(_row, judge(read())),
    ]
    return "\n".join(rows)


def results() -> dict[str, Any] | None:
    """Return what `make bench-all`, or else `make bench`, has measured; None if neither has."""
    return compared(read())


def _command(command: str) -> str:
    return f"*Not measured yet: `{command}`, on a machine that has nothing else to do.*"


def _when(found: dict[str, Any]) -> str:
    machine = found["machine"]
    return (
        f"Measured on {machine['made']}, while others used {machine['others']:.1%} of the machine"
    )


def _minute(number: int, one: dict[str, Any]) -> str:
    times = f"{_milliseconds(one['p50'])} | {_milliseconds(one['p99'])}"
    return (
        f"| {number} | {one['answers']:,} | {one['wrong']:,} | {times} "
        f"| {one['memory'] / 2**20:.0f} MB | {one['waiting']:,} |"
    )


def _table(peers: list[dict[str, Any]]) -> Iterator[str]:
    yield "| | acknowledges/s | CPU a request | p50 | p99 | p99.9 | memory | handled/s |"
    yield "|---|--:|--:|--:|--:|--:|--:|--:|"
    for one in peers:
        mark = {"wrk": " (wrk)"}.get(one["by"], "*" if one["near_ceiling"] else "")
        times = " | ".join(_milliseconds(one["half"][name]) for name in ("p50", "p99", "p99.9"))
        handled = "" if one["end_to_end"] is None else f"{one['end_to_end']:,.0f}"
        yield (
            f"| {one['title']} | {one['maximum']:,.0f}{mark} | {one['cpu'] * 1e6:.0f} µs | {times} "
            f"| {one['memory'] / 2**20:.0f} MB | {handled} |"
        )


def _failed(found: dict[str, Any]) -> Iterator[str]:
    if failed := ", ".join(found["failed"]):
        yield f"Could not be measured in this run: {failed}."
        yield ""


def _losses(peers: list[dict[str, Any]]) -> Iterator[str]:
    yield "| killed in mid-load | acknowledged | missing | handled twice | they come back |"
    yield "|---|--:|--:|--:|---|"
    for one in peers:
        if killed := one["killed"]:
            yield (
                f"| {one['title']} | {killed['acknowledged']:,} | {killed['missing']:,} | "
                f"{killed['twice']:,} | {one['returns']} |"
            )


def _shown() -> Iterator[str]:
    yield "![Acknowledges a second, a bar for each](../pictures/performance-rates.svg)"
    yield ""
    yield "![Time to the acknowledge by percentile](../pictures/performance-latency.svg)"


def _row(judged: Judged) -> str:
    target = judged.target
    bound = f"{'≥' if target.at_least else '≤'} {target.bound:g} {target.unit}".rstrip()
    if judged.measured is None:
        return f"| {target.text} | {bound} | not measured yet | `{target.command}` |"
    verdict = "met" if judged.is_met else "**not met**"
    return f"| {target.text} | {bound} | {judged.measured:,.2f} {target.unit} | {verdict} |"


def _milliseconds(seconds: float) -> str:
    return f"{seconds * 1000:.2f} ms"
