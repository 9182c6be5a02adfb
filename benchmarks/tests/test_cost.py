"""A webhook takes no more steps than it did: in bytecodes, which no busy machine changes."""

import sys
from pathlib import Path

import pytest

from benchmarks.cost import measure

# Measured with CPython 3.11; later ones take fewer. A change that needs more says so here, and why.
# Last: the version of HTTP and the host are looked at (75), and a request is read apart from its
# route, for what came astray (30).
# And 200 of a new one see to it that a form is cut as Twilio cut it (decision 22).
NEW = 3_040
REPEAT = 910
MARGIN = 1.08


@pytest.mark.skipif(sys.gettrace() is not None, reason="somebody else is tracing: a debugger")
def test_a_webhook_costs_no_more_than_it_did(tmp_path: Path) -> None:
    new, repeat = measure(tmp_path)
    advice = "python -m benchmarks.cost shows where they go"
    assert new.bytecodes <= NEW * MARGIN, advice
    assert repeat.bytecodes <= REPEAT * MARGIN, advice


def test_the_same_work_costs_the_same(tmp_path: Path) -> None:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    (one, _), (other, _) = measure(tmp_path / "1", 256), measure(tmp_path / "2", 256)
    assert one.bytecodes == pytest.approx(other.bytecodes, rel=0.02)
