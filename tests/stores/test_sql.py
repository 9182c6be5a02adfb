"""What stands in `.sql` files: fragments with parameters, and no state of its own."""

import re
from pathlib import Path

import pytest

import offhook.stores
from offhook.core.keys import Kind
from offhook.core.lifecycle import SendState, State
from offhook.stores.postgres.schema import FUNCTIONS
from offhook.stores.sql import SqlFiles

STORES = Path(offhook.stores.__file__).parent
FILES = sorted(STORES.glob("*/sql/*.sql"))


@pytest.fixture
def sql(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SqlFiles:
    folder = tmp_path / "sql_of_a_test" / "sql"
    folder.mkdir(parents=True)
    (folder.parent / "__init__.py").touch()
    (folder / "one.sql").write_text(
        "-- What it is for.\n-- name: count\nSELECT count(*)\n-- why\nFROM {table} WHERE {live}\n\n"
        "-- name: live\nstate IN {sources(CLAIM)} OR state = '{target(CLAIM)}'\n\n"
        "-- name: part(of, where=true)\n{of} WHERE {where} AND '{}' = '{State.DONE}'\n"
    )
    (folder / "two.sql").write_text(
        "-- name: one\n{part(f(a, b))}\n-- name: other\n{part(x, where=y = {table})}\n"
        "-- name: unknown\n{nothing}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    return SqlFiles("sql_of_a_test", table="t")


def test_comments_are_left_out_and_names_filled_in(sql: SqlFiles) -> None:
    assert sql["count"] == (
        "SELECT count(*)\nFROM t WHERE state IN ('open', 'waiting') OR state = 'running'"
    )
    assert sql.filled("count", table="u").startswith("SELECT count(*)\nFROM u")


def test_a_fragment_has_parameters_and_defaults(sql: SqlFiles) -> None:
    assert sql["one"] == "f(a, b) WHERE true AND '{}' = 'done'"
    assert sql["other"] == "x WHERE y = t AND '{}' = 'done'"


@pytest.mark.parametrize("name", ["nowhere", "unknown"])
def test_what_is_not_known_is_an_error(sql: SqlFiles, name: str) -> None:
    with pytest.raises(KeyError):
        sql[name]


@pytest.mark.parametrize("file", FILES, ids=lambda file: f"{file.parts[-3]}-{file.stem}")
def test_no_file_spells_out_a_state(file: Path) -> None:
    spelled = set(re.findall(r"'([a-z]+)'", file.read_text(encoding="utf-8")))
    assert not spelled & {*State, *SendState, *Kind} - {"message"}  # a kind of count, too


def test_every_placeholder_of_a_function_is_filled_in() -> None:
    assert len(FUNCTIONS) == 21
    for function in FUNCTIONS:
        assert not re.search(r"\{\w", function.definition), function.purpose
