"""Figures are published only if they are of a whole run, on a machine that did nothing else."""

import argparse
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.machine import Machine
from benchmarks.processes import ROOT


def machine(*, busy: float = 0.01, others: float = 0.01) -> Machine:
    return Machine("some processor", 2, "Linux", "3.11", 0.0001, 0.0002, busy, others)


@pytest.mark.parametrize(
    ("one", "partial", "kind"),
    [
        (machine(), False, ""),
        (machine(busy=0.5), False, ".noisy"),
        (machine(others=0.11), False, ".noisy"),
        (machine(), True, ".partial"),
        (machine(others=0.5), True, ".partial"),
    ],
)
def test_why_figures_are_set_aside(one: Machine, partial: bool, kind: results.Kind) -> None:
    assert results.kind(one, partial=partial) == kind


def parser() -> argparse.ArgumentParser:
    made = argparse.ArgumentParser()
    made.add_argument("--quick", action="store_true")
    made.add_argument("--all", action="store_true")
    made.add_argument("--only", nargs="+", default=["a", "b"])
    made.add_argument("--seconds", type=float, default=8.0)
    made.add_argument("--out", type=Path)
    return made


@pytest.mark.parametrize(
    ("line", "partial"),
    [
        ("", False),
        ("--all", False),
        ("--seconds 8", False),
        ("--out there.json", False),
        ("--quick", True),
        ("--only a", True),
        ("--all --seconds 1", True),
    ],
)
def test_a_run_with_other_options_is_partial(line: str, partial: bool) -> None:
    given = parser().parse_args(line.split())
    assert results.is_partial(parser(), given, "all") is partial


RUN = """
import sys
from pathlib import Path
from benchmarks import results

results.FOLDER = Path(sys.argv[1]) / "results"
run = results.Run("one", Path(sys.argv[1]), partial=True)
run.write({"x": 1})
"""


def test_a_partial_run_leaves_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    (tmp_path / "results").mkdir()
    (tmp_path / "results" / "one.json").write_text('{"x": 2}')
    subprocess.run([sys.executable, "-c", RUN, tmp_path], cwd=ROOT, check=True)
    assert results.read() == {"one": {"x": 2}}
    assert results.read(".partial")["one"]["x"] == 1
    assert results.read(".noisy") == {}


STAYS = """
import sys, time
from pathlib import Path
from benchmarks import results

with open(sys.argv[1] + "/ended", "w") as file:
    try:
        results.Run("one", Path(sys.argv[1]), partial=True)
        print("up", flush=True)
        time.sleep(600)
    finally:
        file.write("in good order")
"""


def test_a_run_that_is_told_to_end_ends_what_it_started(tmp_path: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STAYS, tmp_path], cwd=ROOT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        while process.stdout.readline() not in {"up\n", ""}:
            pass
        process.terminate()
    assert process.returncode == 128 + signal.SIGTERM
    assert (tmp_path / "ended").read_text() == "in good order"


@pytest.mark.parametrize("kind", [".partial", ".noisy"])
def test_git_ignores_what_is_set_aside(kind: str) -> None:
    file = results.FOLDER / f"one{kind}.json"
    assert subprocess.run(["git", "check-ignore", "--quiet", file], check=False).returncode == 0
