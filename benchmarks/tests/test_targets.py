"""The table of targets: met, not met, or not measured, and never a guess."""

from typing import Any

import pytest

from benchmarks import results
from benchmarks.targets import TARGETS, judge, line

PEER = {"half": {"p50": 0.001, "p99": 0.02}, "end_to_end": 5000, "killed": {"missing": 0}}
RESULTS: dict[str, Any] = {
    "compare": {
        "peers": {
            "empty": {"maxima": [20_000, 30_000, 40_000]},
            "sqlite": {"maxima": [10_000, 12_000, 12_000], **PEER},
        }
    },
    "limits": {"idle_memory": 120 * 2**20},
}


def verdicts() -> dict[str, str]:
    return {one.target.text: line(one) for one in judge(RESULTS)}


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("acknowledges, to an empty app on the same uvicorn", "0.40 x   NOT MET"),
        ("acknowledge at half of that load, p50", "1.00 ms   met"),
        ("acknowledge at half of that load, p99", "20.00 ms   NOT MET"),
        ("lost when all was killed in mid-load, SQLite", "0.00   met"),
        ("idle: memory of ingress and worker", "120.00 MB   NOT MET"),
        ("acknowledges, to FastAPI with BackgroundTasks", "not measured: make bench"),
        ("p99 while Redis is dead", "not measured: python -m benchmarks.cache"),
    ],
)
def test_a_target(text: str, told: str) -> None:
    assert told in verdicts()[text]


def test_nothing_measured_is_nothing_met() -> None:
    assert [one.is_met for one in judge({})] == [None] * len(TARGETS)


def test_all_peers_are_preferred_to_some() -> None:
    some: dict[str, Any] = {"peers": {"empty": {}}}
    every: dict[str, Any] = {"peers": {"empty": {}, "rq": {}}}
    assert results.comparison({"compare": some, "compare-all": every}) is every
    assert results.comparison({"compare": some}) is some
    assert results.comparison({}) is None
