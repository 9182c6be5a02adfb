"""Functions kept in the database: several statements in one round trip, each with a fresh snapshot.

A statement that follows a lock must see what was committed before the lock was had. In one
statement, however long, it does not: its snapshot is older than the lock. A VOLATILE function's
statements each take a snapshot of their own.

A function's name ends in a digest of its text. So each version of offhook finds its own, and old
and new run side by side during a deployment.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import blake2b
from typing import Final

_OPTIONS: Final[Mapping[str, str]] = {
    # The same plan whatever the statistics say: they may be those of an empty table an hour ago,
    # and a plan that was made then stays as long as its connection. Every hot statement has an
    # index that leads to the very rows, and nothing else is ever better.
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_mergejoin": "off",
    "jit": "off",  # what is discouraged counts as expensive, and what is expensive gets compiled
    "search_path": "pg_catalog, pg_temp",
}
BY_INDEX: Final[Mapping[str, str]] = {"enable_hashjoin": "off", "enable_sort": "off"}
"""For functions that join what they are given with tables, or look for the first of a lane.

Of a few rows, reading all and sorting them is cheap. The plan would outlast that.
"""

# What is acknowledged is on disk, even if the database's default has been set to something faster.
# A stricter choice (remote_apply) stands.
_DURABLY: Final = """
    IF current_setting('synchronous_commit') = 'off' THEN
        PERFORM set_config('synchronous_commit', 'on', true);
    END IF;
"""


@dataclass(frozen=True)
class Routine:
    """One function.

    Attributes:
        purpose: the first part of its name.
        arguments: names and types; names begin with an underscore, so that they are no column's.
        returns: what stands behind RETURNS.
        declares: its variables.
        body: its statements.
        options: settings in force while it runs.
        needs: functions that it calls.
    """

    purpose: str
    arguments: Mapping[str, str]
    returns: str
    body: str
    declares: str = ""
    options: Mapping[str, str] = field(default_factory=lambda: BY_INDEX)
    needs: tuple["Routine", ...] = ()

    @cached_property
    def name(self) -> str:
        """Return its name: no other text ever has the same."""
        digest = blake2b(self._text.encode(), digest_size=6).hexdigest()
        return f"{self.purpose}_{digest}"

    @property
    def definition(self) -> str:
        """Return the statement that makes it."""
        return f"CREATE OR REPLACE FUNCTION offhook.{self.name}{self._text}"

    @cached_property
    def call(self) -> str:
        """Return the statement that calls it, with its arguments bound in order."""
        bound = ", ".join(f"${n}::{kind}" for n, kind in enumerate(self.arguments.values(), 1))
        return f"SELECT * FROM offhook.{self.name}({bound})"

    @cached_property
    def _text(self) -> str:
        arguments = ", ".join(f"{name} {kind}" for name, kind in self.arguments.items())
        options = "\n".join(
            f"SET {name} = {value}" for name, value in {**_OPTIONS, **self.options}.items()
        )
        return (
            f"({arguments}) RETURNS {self.returns} LANGUAGE plpgsql VOLATILE\n{options}\n"
            f"AS $function$\n#variable_conflict use_column\n"
            f"DECLARE\n_now timestamptz;\n{self.declares}\n"
            f"BEGIN\n{_DURABLY}\n{self.body}\nEND $function$"
        )


def with_needs(routines: Iterable[Routine]) -> tuple[Routine, ...]:
    """Return the routines, each behind those that it needs."""
    ordered: dict[str, Routine] = {}
    for routine in routines:
        for one in (*with_needs(routine.needs), routine):
            ordered[one.name] = one
    return tuple(ordered.values())
