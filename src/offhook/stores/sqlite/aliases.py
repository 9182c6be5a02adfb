"""Lanes of one person: a number's and those of the user ids that were seen with it.

All that is in an alias's lane is moved into the lane that it leads to, with the places it has. What
is running stays, for its run names the lane it was claimed in: until it has ended, the other lane
has the same lease, and both are marked (`joined`). Every function runs within the writer's
transaction.
"""

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, NamedTuple

from offhook.core.inbound import Inbound
from offhook.core.keys import person_of
from offhook.core.privacy import spellings
from offhook.stores.sql import MESSAGES, SENDS
from offhook.stores.sqlite import lanes
from offhook.stores.sqlite.conditions import SQL

_DAY: Final = 86_400_000


class _Known(NamedTuple):
    alias: str
    lane: str
    seen: int
    left: int  # whether something is in the alias's own lane


def resolved(
    connection: sqlite3.Connection, now: int, batch: Sequence[Inbound]
) -> Sequence[Inbound]:
    """Return new webhooks with the lanes of their persons; remember what they say of these."""
    aliases = {one.alias for one in batch if one.alias}
    known = _known(connection, aliases)
    stale = [one for one in known.values() if one.left or one.seen < now - _DAY]
    leads_to = {one.alias: one.lane for one in known.values()}
    for one in batch:
        if one.alias and one.alias != one.lane and leads_to.get(one.alias) != one.lane:
            _learn(connection, now, one.alias, one.lane)
            leads_to[one.alias] = one.lane
    for old in stale:
        if old.seen < now - _DAY:
            connection.execute("UPDATE aliases SET seen = ? WHERE alias = ?", (now, old.alias))
        if old.left:
            gather(connection, now, target_of(connection, old.alias))
    return [one._replace(lane=leads_to.get(one.alias, one.lane)) for one in batch]


def target_of(connection: sqlite3.Connection, lane: str) -> str:
    """Return the lane that a lane leads to."""
    (target,) = connection.execute(SQL["target_of"], (lane,)).fetchone()
    return str(target)


def addresses_of(connection: sqlite3.Connection, address: str) -> tuple[str, ...]:
    """Return all addresses of a person. Reads only."""
    found = dict.fromkeys(spellings(address))
    new = list(found)
    while new:
        rows = connection.execute(SQL["addresses_of"], (new.pop(),)).fetchall()
        for spelled in (one for (other,) in rows for one in spellings(other)):
            if spelled not in found:
                found[spelled] = None
                new.append(spelled)
    return tuple(found)


def forget(connection: sqlite3.Connection, _now: int, addresses: Sequence[str]) -> None:
    """Delete what is known of a person."""
    marks = ",".join("?" * len(addresses))
    connection.execute(
        f"DELETE FROM aliases WHERE address IN ({marks}) OR person IN ({marks})",
        (*addresses, *addresses),
    )


def prune(connection: sqlite3.Connection, before: int, limit: int) -> int:
    """Delete aliases that have not been seen for long."""
    return connection.execute(
        "DELETE FROM aliases WHERE alias IN "
        "(SELECT alias FROM aliases WHERE seen < ? ORDER BY seen LIMIT ?)",
        (before, limit),
    ).rowcount


def gather(connection: sqlite3.Connection, now: int, target: str) -> None:
    """Have all that is in lanes which lead to `target` in that one, as far as it may be now."""
    rows = connection.execute("SELECT alias, address FROM aliases WHERE lane = ?", (target,))
    members = dict(rows.fetchall())
    running = [lane for lane in members if _move(connection, now, lane, target, members.values())]
    for lane in running:
        connection.execute(
            "UPDATE lanes SET joined = 1, suspect = 0 WHERE queue = ? AND lane = ?",
            (MESSAGES, lane),
        )
    runs_here = _runner(connection, target) > 0
    left = _move_states(connection, target, [] if runs_here else set(members) - set(running))
    if runs_here:
        connection.execute(
            "UPDATE lanes SET joined = ?, suspect = 0 WHERE queue = ? AND lane = ?",
            (bool(running) or left, MESSAGES, target),
        )
    elif running:
        connection.execute(SQL["take_over_lease"], (MESSAGES, target, running[0]))
    else:
        lanes.touch(connection, MESSAGES, target, now)
        connection.execute(
            "UPDATE lanes SET joined = 0 WHERE queue = ? AND lane = ?", (MESSAGES, target)
        )
        lanes.advance(connection, MESSAGES, target, now)


def _known(connection: sqlite3.Connection, aliases: Iterable[str]) -> Mapping[str, _Known]:
    given = tuple(aliases)
    query = SQL.filled("known_aliases", aliases=f"({','.join('?' * len(given))})")
    return {row[0]: _Known._make(row) for row in connection.execute(query, given).fetchall()}


def _learn(connection: sqlite3.Connection, now: int, alias: str, lane: str) -> None:
    before = target_of(connection, alias)
    connection.execute("DELETE FROM aliases WHERE alias = ?", (lane,))
    _write(connection, now, alias, lane)
    if before not in {alias, lane}:
        # A person with another number: what waits under the one before is theirs, unless that has
        # been seen with another user id, and so is somebody else's by now.
        (alone,) = connection.execute(SQL["leads_alone"], (before, alias)).fetchone()
        if alone:
            _write(connection, now, before, lane)
    if before != alias or _is_used(connection, alias):
        gather(connection, now, lane)


def _is_used(connection: sqlite3.Connection, alias: str) -> bool:
    """Return whether there is, or has been, anything in an alias's own lane."""
    (used,) = connection.execute(SQL["used"], (alias, person_of(alias))).fetchone()
    return bool(used)


def _write(connection: sqlite3.Connection, now: int, alias: str, lane: str) -> None:
    connection.execute(SQL["write_alias"], (alias, lane, person_of(alias), person_of(lane), now))


def _runner(connection: sqlite3.Connection, lane: str) -> int:
    """Return the message that runs in a lane; 0 for none."""
    row = connection.execute(SQL["runner"], (lane,)).fetchone()
    return 0 if row is None else int(row[0])


def _move(
    connection: sqlite3.Connection, now: int, lane: str, target: str, addresses: Iterable[str]
) -> bool:
    """Move what is in a lane, except for what runs there; return whether something does."""
    runner = _runner(connection, lane)
    connection.execute(SQL["move_live"], (target, lane, runner))
    for address in addresses:
        connection.execute(SQL["move_settled"], (target, lane, runner, address))
    _move_sends(connection, now, lane, target, runner)
    if not runner:
        connection.execute("DELETE FROM lanes WHERE queue = ? AND lane = ?", (MESSAGES, lane))
    return runner > 0


def _move_states(connection: sqlite3.Connection, target: str, members: Iterable[str]) -> bool:
    """Move states of conversations; of two, the one used last stays. Return whether one is left.

    A run in either lane saves the state that it was given, and not over another.
    """
    for lane in members:
        connection.execute(SQL["move_state"], (target, lane))
        connection.execute("DELETE FROM conversation_states WHERE conversation = ?", (lane,))
    return connection.execute(SQL["state_left"], (target,)).fetchone() is not None


def _move_sends(
    connection: sqlite3.Connection, now: int, lane: str, target: str, runner: int
) -> None:
    """Move sends, except for those of what runs, whose identities its run looks for in its lane.

    What is being sent takes its lease along, unless something of the other lane is being sent.
    """
    row = connection.execute(SQL["sends_under_way"], (lane,)).fetchone()
    sending, message = (0, 0) if row is None else row
    there = connection.execute(SQL["sends_under_way"], (target,)).fetchone()
    if sending and there is None and message != runner:
        connection.execute(SQL["take_over_lease"], (SENDS, target, lane))
        connection.execute("DELETE FROM lanes WHERE queue = ? AND lane = ?", (SENDS, lane))
        sending = 0
    connection.execute(SQL["move_sends"], (target, lane, runner, sending))
    lanes.refresh(connection, SENDS, lane, now)
    lanes.touch(connection, SENDS, target, now)
    lanes.refresh(connection, SENDS, target, now)
