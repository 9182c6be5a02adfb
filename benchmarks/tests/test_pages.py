"""The documentation's page of figures tells what was measured, and what could not be."""

import json
from pathlib import Path
from typing import Any

import pytest

from benchmarks import results
from tools.pages import performance

MACHINE = {
    "made": "2026-11-29", "processor": "some processor", "cores": 2, "system": "Linux",
    "python": "3.11", "fsync_p50": 0.0001, "fsync_p99": 0.0002, "others": 0.021,
}  # fmt: skip


def peer(title: str) -> dict[str, Any]:
    return {
        "title": title, "maximum": 5000.0, "by": "bench", "near_ceiling": False, "cpu": 0.0001,
        "memory": 80 * 2**20, "half": {"p50": 0.001, "p99": 0.002, "p99.9": 0.003},
        "end_to_end": 900.0, "killed": {"acknowledged": 400, "missing": 3, "twice": 1},
        "returns": "never",
    }  # fmt: skip


def compared(*titles: str) -> dict[str, Any]:
    return {
        "machine": MACHINE, "connections": 64, "rounds": 3, "seconds": 8.0, "generator": 20_000.0,
        "peers": {title: peer(title) for title in titles}, "failed": {"rq": "RuntimeError"},
    }  # fmt: skip


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    return tmp_path


def test_the_comparison_of_all_is_told(folder: Path) -> None:
    (folder / "compare.json").write_text(json.dumps(compared("some")))
    (folder / "compare-all.json").write_text(json.dumps(compared("some", "another")))
    told = performance.comparison()
    assert "| another | 5,000 | 100 µs | 1.00 ms | 2.00 ms | 3.00 ms | 80 MB | 900 |" in told
    assert "| another | 400 | 3 | 1 | never |" in told
    assert "Could not be measured in this run: rq." in told
    assert "2026-11-29, while others used 2.1% of the machine" in performance.machine()


def test_many_people_are_told(folder: Path) -> None:
    assert "make users" in performance.users()
    crowd = {"connections": 10_000, "conversations": 100_000, "acknowledged": 99_999, "rate": 2000}
    times = {"p50": 0.001, "p99": 0.002, "p99.9": 0.003}
    (folder / "users.json").write_text(json.dumps({"machine": MACHINE, **crowd, **times}))
    assert "10,000 open connections, 99,999 of 100,000 acknowledged" in performance.users()
