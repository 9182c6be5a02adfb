"""What tests and benchmarks share stands in testing/, which imports neither."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORBIDDEN = {"tests": {"benchmarks"}, "benchmarks": {"tests"}, "testing": {"benchmarks", "tests"}}


def imported(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text())):
        match node:
            case ast.Import(names=names):
                yield from (name.name.split(".")[0] for name in names)
            case ast.ImportFrom(module=str(module), level=0):
                yield module.split(".")[0]


@pytest.mark.parametrize("folder", FORBIDDEN)
def test_tests_and_benchmarks_share_helpers_and_do_not_import_each_other(folder: str) -> None:
    files = [*(ROOT / folder).rglob("*.py")]
    assert files
    wrong = [file for file in files if FORBIDDEN[folder] & set(imported(file))]
    assert wrong == []
