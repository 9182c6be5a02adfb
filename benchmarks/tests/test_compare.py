"""A peer is measured as a whole: a real server, a real worker, and what they use."""

from pathlib import Path

import uvloop

from benchmarks.compare import Found, measure
from benchmarks.peers.table import PEERS
from benchmarks.stage import Servers, staged

PEER = next(peer for peer in PEERS if peer.name == "sqlite")


def test_offhook_on_sqlite(tmp_path: Path) -> None:
    with staged(PEER, Servers.none(), tmp_path / "stage") as stage:
        found = uvloop.run(measure(stage, seconds=0.3, generator=1e9))
    assert found.by == "bench"
    assert min(found.maximum, found.cpu, found.memory, found.end_to_end or 0) > 0
    assert 0 < found.half.count < stage.accepted
    figures = Found(PEER, [found]).as_object(ceiling=found.maximum)
    assert figures["near_ceiling"] is True
    assert figures["half"]["p50"] <= figures["half"]["p99"] <= figures["half"]["max"] + 1e-6
    assert not (tmp_path / "stage").exists()
