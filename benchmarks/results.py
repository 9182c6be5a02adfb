"""Where the scripts leave their figures, for `benchmarks.targets` and the documentation.

A file named for its script is published: it is of a whole run, on a machine that had nothing else
to do. All others are set aside, in files that git ignores and the documentation does not tell:
`NAME.partial.json` of runs that were cut short by an option, `NAME.noisy.json` of busy machines.
"""

import argparse
import json
import signal
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Literal

from benchmarks.machine import Machine
from benchmarks.watch import Watch

FOLDER: Final = Path(__file__).parent / "results"

Kind = Literal["", ".noisy", ".partial"]
"""Published, or why a file was set aside."""


class Run:
    """One run of a script, from the first look at the machine to the file with the figures.

    Args:
        name: of the file.
        folder: for what is measured; its disk is told of.
        partial: whether the figures are less than the script is there for.
        out: another file, which is written in any case.
    """

    def __init__(self, name: str, folder: Path, *, partial: bool, out: Path | None = None) -> None:
        self._name = name
        self._partial = partial
        self._out = out
        signal.signal(signal.SIGTERM, _exit)
        self._machine = Machine.here(folder)
        print(self._machine.sentence(), flush=True)
        self._watch = Watch()

    def write(self, figures: Mapping[str, Any]) -> None:
        """Write what was measured and the machine it is of, and say where.

        To be called at once after the last measurement: the machine is watched until then.
        """
        machine = replace(self._machine, others=self._watch.others())
        file = self._out or FOLDER / f"{self._name}{kind(machine, partial=self._partial)}.json"
        file.parent.mkdir(exist_ok=True)
        made = {"machine": machine.as_object(), **figures}
        file.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
        print(f"\nothers used {machine.others:.1%} of the processors meanwhile", end="")
        print("" if machine.is_quiet else ": NOT QUIET", end="")
        print(f"; written to {file}", flush=True)


def _exit(number: int, _frame: object) -> None:
    """Leave by way of what ends processes and removes folders, as Ctrl-C does."""
    sys.exit(128 + number)


def kind(machine: Machine, *, partial: bool) -> Kind:
    """Return what figures of a machine are."""
    if partial:
        return ".partial"
    return "" if machine.is_quiet else ".noisy"


def is_partial(parser: argparse.ArgumentParser, given: argparse.Namespace, *but: str) -> bool:
    """Return whether an option made a run other than the whole; `out` and those named don't."""
    return any(
        value != parser.get_default(name)
        for name, value in vars(given).items()
        if name not in {"out", *but}
    )


def read(wanted: Kind = "") -> dict[str, Any]:
    """Return all figures of a kind by the name of their script."""
    end = f"{wanted}.json"
    names = {file.name.removesuffix(end): file for file in FOLDER.glob(f"*{end}")}
    return {
        name: json.loads(file.read_text("utf-8"))
        for name, file in sorted(names.items())
        if "." not in name
    }


def comparison(results: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return what `make bench-all` measured; if it did not, what `make bench` did."""
    found: dict[str, Any] | None = results.get("compare-all") or results.get("compare")
    return found
