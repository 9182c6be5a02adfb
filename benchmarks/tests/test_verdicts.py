"""The verdicts of the long runs: what is lost is counted, what grows is seen."""

import json
from collections import Counter
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.drill import Loss, compare
from benchmarks.peers.table import PEERS
from benchmarks.soak import Minute, figures, verdict
from offhook.bench.requests import RequestKind, SignedRequest
from offhook.bench.results import Results
from tools.pages import performance

MIB = 2**20
SHOT = SignedRequest(b"", RequestKind.FRESH, "SM1")


def minute(*, memory: int = 100, p99: float = 0.002, status: int = 200, waiting: int = 0) -> Minute:
    tally = Results()
    tally.answer(SHOT, status, p99)
    return Minute(tally, memory * MIB, waiting)


FLAT = [minute() for _ in range(6)]
DONE = Counter(done=10)


def test_a_soak_that_keeps_all_promises() -> None:
    assert not verdict(FLAT, DONE, missing=0).broken


@pytest.mark.parametrize(
    ("minutes", "states", "missing", "told"),
    [
        (FLAT, DONE, 1, "lost: 1"),
        (FLAT, Counter(done=9, dead=1), 0, "in the store"),
        ([*FLAT[:-1], minute(status=503)], DONE, 0, "answers"),
        ([*FLAT[:-1], minute(memory=200)], DONE, 0, "memory"),
        ([*FLAT[:4], *[minute(p99=0.1)] * 2], DONE, 0, "p99"),
        ([*FLAT, minute(waiting=1)], DONE, 0, "waiting"),
    ],
)
def test_a_soak_that_breaks_one(
    minutes: list[Minute], states: Counter[str], missing: int, told: str
) -> None:
    [broken] = verdict(minutes, states, missing).broken
    assert told in broken


def test_memory_may_grow_while_caches_fill() -> None:
    warming = [minute(memory=50), minute(memory=80)]
    assert not verdict([*warming, *FLAT], DONE, missing=0).broken


def test_the_documentation_tells_each_minute_and_the_verdict(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path)
    minutes = [*FLAT, minute(status=503, memory=110, waiting=9)]
    made = figures(500.0, 7, minutes, verdict(minutes, DONE, missing=0))
    machine = {"made": "2026-11-29", "others": 0.02}
    (tmp_path / "soak.json").write_text(json.dumps({"machine": machine, **made}))
    told = performance.soak()
    assert "| 1 | 1 | 0 | 2.00 ms | 2.00 ms | 100 MB | 0 |" in told
    assert "| 7 | 1 | 1 | 2.00 ms | 2.00 ms | 110 MB | 9 |" in told
    assert "- kept: lost: 0" in told
    assert "- **broken**: answers that were not as they should be: 1" in told


def test_lost_and_repeated_messages_are_counted(tmp_path: Path) -> None:
    handled = tmp_path / "handled"
    handled.write_text("SM1\nSM2\nSM2\nSM9\n")
    assert compare({"SM1", "SM2", "SM3"}, handled) == Loss(acknowledged=3, missing=1, twice=1)
    assert compare({"SM1"}, tmp_path / "none") == Loss(acknowledged=1, missing=1, twice=0)


def test_each_peer_is_named_once_and_knows_what_it_lacks() -> None:
    assert len({peer.name for peer in PEERS}) == len(PEERS)
    for peer in PEERS:
        command = peer.command(peer.ingress, 8000, Path("/tmp"))
        assert "{" not in " ".join(command)
        if peer.venv == ".venv":
            assert not peer.missing()
