"""Numbered migrations: files of SQL, applied in order, each once.

Old and new versions of offhook run side by side on one schema, for deploys are rolling: a machine
of the old version may have to start once more after the first one of the new version did. So a
migration only adds what the old version can do without. One that can't do that begins a new
generation: its number is the next thousand, and older versions refuse to start.
"""

import re
from collections.abc import Sequence
from importlib.resources import files
from itertools import pairwise
from typing import Final, NamedTuple

from offhook.errors import ConfigurationError, SchemaTooNew

_GENERATION: Final = 1000


class Migration(NamedTuple):
    """One step of the schema."""

    version: int
    name: str
    sql: str


def migrations(package: str) -> tuple[Migration, ...]:
    """Return the migrations in `package`: files named `0001_what_it_does.sql`, without gaps.

    Raises:
        ConfigurationError: when the numbers have gaps; this is a mistake of offhook's developers.
    """
    found = sorted(
        Migration(int(match[1]), match[2], file.read_text(encoding="utf-8"))
        for file in files(package).iterdir()
        if (match := re.fullmatch(r"(\d{4})_(\w+)\.sql", file.name))
    )
    if not _follow_each_other([migration.version for migration in found]):
        raise ConfigurationError(f"the migrations of {package} are not numbered without gaps")
    return tuple(found)


def missing(known: Sequence[Migration], version: int) -> Sequence[Migration]:
    """Return the migrations that a schema has not had yet.

    Args:
        known: to this offhook.
        version: of the schema; 0 for a new one.

    Raises:
        SchemaTooNew: it is of a newer generation. One that has only been added to will do.
    """
    newest = known[-1].version
    if version // _GENERATION > newest // _GENERATION:
        raise SchemaTooNew(
            f"the store has schema {version}, this offhook knows {newest}: install a newer one"
        )
    return [migration for migration in known if migration.version > version]


def _follow_each_other(versions: Sequence[int]) -> bool:
    return all(
        later in {earlier + 1, (earlier // _GENERATION + 1) * _GENERATION}
        for earlier, later in pairwise([0, *versions])
    )
