"""Numbered migrations: files of SQL, applied in order, each once."""

import re
from importlib.resources import files
from typing import NamedTuple

from offhook.errors import ConfigurationError


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
    if [migration.version for migration in found] != list(range(1, len(found) + 1)):
        raise ConfigurationError(f"the migrations of {package} are not numbered without gaps")
    return tuple(found)
