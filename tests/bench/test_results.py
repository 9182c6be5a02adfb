"""Figures are published only if they are of a whole run, on a machine that did nothing else."""

import argparse
import subprocess
from pathlib import Path

import pytest

from benchmarks import results
from benchmarks.machine import Machine


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


def test_a_partial_run_leaves_what_is_published(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FOLDER", tmp_path / "results")
    run = results.Run("one", tmp_path, partial=True)
    run.write({"x": 1})
    (tmp_path / "results" / "one.json").write_text('{"x": 2}')
    run.write({"x": 3})
    assert results.read() == {"one": {"x": 2}}
    assert results.read(".partial")["one"]["x"] == 3
    assert results.read(".noisy") == {}
    assert "one.partial.json" in capsys.readouterr().out


@pytest.mark.parametrize("kind", [".partial", ".noisy"])
def test_git_ignores_what_is_set_aside(kind: str) -> None:
    file = results.FOLDER / f"one{kind}.json"
    assert subprocess.run(["git", "check-ignore", "--quiet", file], check=False).returncode == 0
