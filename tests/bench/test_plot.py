"""Plots are drawings that a reader of XML accepts, whatever was measured."""

from xml.etree import ElementTree as ET

import pytest

from offhook.bench.plot import bars, latencies
from offhook.bench.results import Histogram

SVG = "{http://www.w3.org/2000/svg}"


@pytest.mark.parametrize("times", [[], [0.0], [0.001], [0.0001, 0.02, 40.0]])
def test_latencies(times: list[float]) -> None:
    histogram = Histogram()
    for one in times:
        histogram.record(one)
    drawn = ET.fromstring(latencies("a < b", {"one & only": histogram}))
    assert len(drawn.findall(f"{SVG}polyline")) == 1
    texts = [text.text for text in drawn.iter(f"{SVG}text")]
    assert {"a < b", "one & only", "99.9 %"} <= set(texts)


def test_bars_are_as_long_as_their_values() -> None:
    drawn = ET.fromstring(bars("rates", {"one": 100, "half": 50, "none": 0}, "a second"))
    widths = [float(bar.attrib["width"]) for bar in drawn.findall(f"{SVG}rect")[1:]]
    assert widths == [widths[0], widths[0] / 2, 0]
