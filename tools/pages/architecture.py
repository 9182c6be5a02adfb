"""The packages of `offhook` and their imports, as a Mermaid diagram and a table."""

import ast
import tomllib
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Final

import grimp

_ROOT: Final = Path(__file__).parents[2]
_SOURCES: Final = _ROOT / "src" / "offhook"

# Imported by nearly all packages: their arrows would hide the others.
_FOUNDATION: Final = frozenset(
    {"clock", "concurrency", "core", "errors", "events", "ports", "settings"}
)
# Pieces of the command line's that say nothing about a message's way.
_LEFT_OUT: Final = frozenset({"__main__", "startup", "terminal"})

Imports = Mapping[str, frozenset[str]]


def picture() -> str:
    """Return the packages and what each imports, as a diagram, the highest layer on top.

    An import that a longer way of imports implies has no arrow.
    """
    imports = _without_shortcuts(_imports())
    lines = ["```mermaid", "flowchart TD"]
    for number, layer in enumerate(_layers()):
        shown = [name for name in layer if name in imports]
        if shown:
            lines.append(f"    subgraph layer{number}[ ]")
            lines.extend(f"        {name}" for name in shown)
            lines.append("    end")
    lines.append(f'    base["{", ".join(sorted(_FOUNDATION))}"]')
    for name, others in imports.items():
        lines.extend(f"    {name} --> {other}" for other in sorted(others) or ["base"])
    return "\n".join([*lines, "```"])


def packages() -> str:
    """Return what each package holds, as a table, the highest layer first."""
    rows = []
    for name in (name for layer in _layers() for name in layer):
        shown = f"{name}/" if (_SOURCES / name).is_dir() else f"{name}.py"
        rows.append(f"| [`{shown}`](../../src/offhook/{shown}) | {_purpose(name)} |")
    return "\n".join(["| where | what it does |", "|---|---|", *rows])


def _layers() -> list[list[str]]:
    """Return the layers that import-linter holds, the highest first."""
    project = tomllib.loads((_ROOT / "pyproject.toml").read_text("utf-8"))
    contract = project["tool"]["importlinter"]["contracts"][0]
    return [
        [name.removeprefix("offhook.").strip() for name in layer.replace("offhook.", "").split("|")]
        for layer in contract["layers"]
    ]


def _imports() -> Imports:
    """Return which packages each package imports, without those that all use."""
    graph = grimp.build_graph("offhook")
    pairs = sorted(
        (_package(module), _package(imported))
        for module in graph.modules
        for imported in graph.find_modules_directly_imported_by(module)
    )
    shown = {
        name
        for name in map(_package, graph.modules)
        if name and name not in _FOUNDATION | _LEFT_OUT
    }
    found = {
        name: frozenset(other for _, other in group if other in shown - {name})
        for name, group in groupby(pairs, key=lambda pair: pair[0])
        if name in shown
    }
    return {name: found.get(name, frozenset()) for name in sorted(shown)}


def _without_shortcuts(imports: Imports) -> Imports:
    def reached(name: str) -> set[str]:
        return {name}.union(*(reached(other) for other in imports[name]))

    return {
        name: frozenset(
            other
            for other in others
            if not any(other in reached(third) for third in others - {other})
        )
        for name, others in imports.items()
    }


def _package(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def _purpose(name: str) -> str:
    """Return the first paragraph of a package's docstring."""
    path = (
        _SOURCES / name / "__init__.py" if (_SOURCES / name).is_dir() else _SOURCES / f"{name}.py"
    )
    text = ast.get_docstring(ast.parse(path.read_text("utf-8"))) or ""
    return " ".join(text.partition("\n\n")[0].split())
