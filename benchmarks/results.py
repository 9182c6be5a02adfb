"""Where the scripts leave their figures, for `benchmarks.targets` and the documentation."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from benchmarks.machine import Machine

FOLDER: Final = Path(__file__).parent / "results"
_NOISY: Final = ".noisy"


def write(name: str, figures: Mapping[str, Any], machine: Machine, out: Path | None = None) -> None:
    """Write figures and the machine they are of, and say where.

    Those of a machine that had something else to do are set aside: git ignores them, and the
    documentation does not tell them.
    """
    file = out or FOLDER / f"{name}{'' if machine.is_quiet else _NOISY}.json"
    file.parent.mkdir(exist_ok=True)
    made = {"machine": machine.as_object(), **figures}
    file.write_text(json.dumps(made, indent=1) + "\n", "utf-8")
    print(f"\nwritten to {file}")


def read(*, noisy: bool = False) -> dict[str, Any]:
    """Return all figures by the name of their script.

    Args:
        noisy: those that were set aside, too, where there are no others.
    """
    found: dict[str, Any] = {}
    for file in sorted(FOLDER.glob("*.json"), key=lambda file: _NOISY not in file.name):
        if noisy or _NOISY not in file.name:
            found[file.name.split(".")[0]] = json.loads(file.read_text("utf-8"))
    return found
