"""`python -m tools.pages.plots`: draw the plots of docs/explanation/performance.md."""

from pathlib import Path
from typing import Final

from offhook.bench.plot import bars, curves
from tools.pages.performance import results

_PICTURES: Final = Path(__file__).parents[2] / "docs" / "pictures"


def draw() -> None:
    """Draw the plots."""
    found = results()
    if found is None:
        return
    peers = list(found["peers"].values())
    rates = {one["title"]: one["maximum"] for one in peers}
    lines = {one["title"]: [(p, s) for p, s in one["curve"]] for one in peers}
    _PICTURES.joinpath("performance-rates.svg").write_text(
        bars("Acknowledges a second, at most", rates, "/s"), "utf-8"
    )
    _PICTURES.joinpath("performance-latency.svg").write_text(
        curves("Time to the acknowledge, at half of each one's maximum", lines), "utf-8"
    )


if __name__ == "__main__":
    draw()
