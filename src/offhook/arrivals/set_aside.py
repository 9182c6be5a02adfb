"""Erase a person from what was set aside: acknowledged webhooks that could not be sorted."""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

from offhook.arrivals.file import LogFile, logs_of, put_aside
from offhook.arrivals.record import Arrival, pack, unpack
from offhook.core.addresses import folded
from offhook.core.deferred import Deferred
from offhook.core.forms import parameters
from offhook.core.identity import identity_of
from offhook.core.keys import Kind
from offhook.errors import SchemaTooNew


class Erased(NamedTuple):
    """The result of erasing a person from what was set aside.

    Attributes:
        number: of webhooks that are gone.
        unread: files with something that can't be read, so that it may be that person's.
    """

    number: int
    unread: list[Path]


def erase(home: Path, addresses: Iterable[str]) -> Erased:
    """Erase what was set aside of a person, in the logs beside a path. Blocks.

    Args:
        home: the path: of a store's file, or of a spool.
        addresses: all that the person has.
    """
    person = frozenset(addresses)
    number, unread = 0, list(put_aside(home))
    for path in logs_of(home):
        try:
            with closing(LogFile.open(path)) as file:
                gone, whole = _erase_from(file, person)
        except FileNotFoundError:  # nothing has been appended to it yet
            continue
        except (OSError, sqlite3.Error, SchemaTooNew):
            whole = False
        else:
            number += gone
        if not whole:
            unread.append(path)
    return Erased(number, sorted(unread))


def _erase_from(file: LogFile, person: frozenset[str]) -> tuple[int, bool]:
    """Return how many webhooks are gone, and whether all could be read."""
    gone, whole = 0, True
    for id_, batch in file.all_set_aside():
        try:
            arrivals = list(unpack(batch))
            others = [one for one in arrivals if person.isdisjoint(_addresses(one))]
        except ValueError:
            whole = False
            continue
        if len(others) < len(arrivals):
            file.erase_set_aside(id_, pack(others) if others else None)
            gone += len(arrivals) - len(others)
    if gone:
        file.checkpoint()
    return gone, whole


def _addresses(arrival: Arrival) -> set[str]:
    """Return who a webhook is from, and to.

    Raises:
        ValueError: it says neither.
    """
    form = arrival.webhook.form
    if arrival.webhook.kind is Kind.DEFERRED:
        form = Deferred.of(form).request.parameters()
    named = parameters(form)
    addresses = {named[name] for name in ("From", "To") if name in named}
    if not addresses:
        raise ValueError("its form names nobody")
    if arrival.webhook.kind is Kind.MESSAGE:
        addresses |= {one for one in identity_of(folded(named.get("From", "")), named) if one}
    return addresses | {folded(address) for address in addresses}
