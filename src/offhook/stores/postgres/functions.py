"""Functions in the database: several statements in one round trip, each with a fresh snapshot.

A statement that follows a lock must see what was committed before the lock was had. In one
statement, however long, it does not: its snapshot is older than the lock. A VOLATILE function's
statements each take a snapshot of their own.

A function's name in the database ends in a digest of its text. So each version of offhook finds its
own, and old and new run side by side during a deployment.
"""

import re
from collections.abc import Iterable
from hashlib import blake2b
from typing import Final

from offhook.stores.sql import SqlFiles

SQL: Final = SqlFiles("offhook.stores.postgres")
"""All statements, those that define functions among them."""

_ARGUMENT: Final = re.compile(r"\b_\w+ ([\w\[\]]+)")


class Function:
    """One function, defined in `sql/`.

    Args:
        purpose: what `sql/` calls it.
        needs: functions that it calls; their names in the database are filled in.
        words: others to fill in.

    Attributes:
        name: its name in the database: no other text ever has the same.
        definition: the statement that makes it.
        call: the statement that calls it, with its arguments bound in order.
    """

    def __init__(self, purpose: str, *needs: "Function", **words: str) -> None:
        self.purpose: str = purpose
        self.needs = needs
        text = SQL.filled(purpose, **{one.purpose: one.name for one in needs}, **words)
        self.name: str = f"{purpose}_{blake2b(text.encode(), digest_size=6).hexdigest()}"
        self.definition = text.replace(f"offhook.{purpose}(", f"offhook.{self.name}(", 1)
        arguments = _ARGUMENT.findall(text.partition("RETURNS")[0])
        bound = ", ".join(f"${n}::{kind}" for n, kind in enumerate(arguments, 1))
        self.call = f"SELECT * FROM offhook.{self.name}({bound})"


def with_needs(functions: Iterable[Function]) -> tuple[Function, ...]:
    """Return the functions, each behind those that it calls."""
    ordered: dict[str, Function] = {}
    for function in functions:
        for one in (*with_needs(function.needs), function):
            ordered[one.name] = one
    return tuple(ordered.values())
