"""What the dashboard asks a store that holds a million messages, and how long each answer takes.

    .venv/bin/python -m benchmarks.dashboard [--messages 1000000] [--store sqlite]

Both stores, filled by plain SQL with messages as Twilio sends them: of 1,000 a few are dead, some
wait, the rest is done. Each question is asked five times; shown are the median and the longest.
Exit status 1 if a median is beyond 200 ms.
"""

import argparse
import asyncio
import sqlite3
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from hashlib import blake2b
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import asyncpg

from benchmarks.results import Run, is_partial
from offhook.core.keys import Kind
from offhook.core.lifecycle import State
from offhook.core.search import SCAN_LIMIT, Phrase
from offhook.stores import open_store
from offhook.stores.api import Filter, Store
from offhook.stores.postgres.values import lane_key
from testing.postgres import postgres

_ASKED = 5
_LIMIT = 200.0  # ms
_AT_ONCE = 10_000
_PEOPLE = 50_000
_RARE = "the password is swordfish"

Row = tuple[Any, ...]


def sid(number: int) -> str:
    """Return a SID as random as Twilio's."""
    return "SM" + blake2b(str(number).encode(), digest_size=16).hexdigest()


def sender(number: int) -> str:
    return f"+1555{number % _PEOPLE:07d}"


def state(number: int) -> State:
    return {3: State.DEAD, 7: State.OPEN, 11: State.DISCARDED}.get(number % 1000, State.DONE)


def form(number: int, total: int) -> bytes:
    said = f"Hello, is order {number} on its way? Thanks!"
    body = _RARE if number == total - SCAN_LIMIT // 2 else said
    fields = {
        "ToCountry": "US", "ToState": "CA", "SmsMessageSid": sid(number), "NumMedia": "0",
        "ToCity": "", "FromZip": "94105", "SmsSid": sid(number), "FromState": "CA",
        "SmsStatus": "received", "FromCity": "SAN FRANCISCO", "Body": body, "FromCountry": "US",
        "To": "+15005550006", "ToZip": "", "NumSegments": "1", "MessageSid": sid(number),
        "AccountSid": "AC" + "0" * 32, "From": sender(number), "ApiVersion": "2010-04-01",
    }  # fmt: skip
    return urlencode(fields).encode()


def batches(total: int) -> Iterator[range]:
    for first in range(1, total + 1, _AT_ONCE):
        yield range(first, min(first + _AT_ONCE, total + 1))


def fill_sqlite(path: Path, total: int) -> None:
    now = time.time_ns() // 1_000_000
    with sqlite3.connect(path) as connection:
        for numbers in batches(total):
            connection.executemany(
                "INSERT INTO messages (id, place, kind, state, lane, account_sid, sid, sender, "
                "recipient, form, received, due, settled) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)",
                [
                    (
                        n, n, Kind.MESSAGE, state(n), f"AC|+15005550006|{sender(n)}", "AC", sid(n),
                        sender(n), "+15005550006", form(n, total), now - (total - n) * 100, now,
                        None if state(n) is State.OPEN else now - (total - n) * 100,
                    )
                    for n in numbers
                ],
            )  # fmt: skip
        connection.execute(
            "UPDATE sequences SET value = ? WHERE name IN ('message', 'rows of messages')", (total,)
        )
        connection.execute("ANALYZE")
    connection.close()


async def fill_postgres(url: str, total: int) -> None:
    connection = await asyncpg.connect(url)
    for numbers in batches(total):
        columns = [
            list(numbers),
            [lane_key(f"AC|+15005550006|{sender(n)}") for n in numbers],
            [state(n) for n in numbers],
            [sid(n) for n in numbers],
            [sender(n) for n in numbers],
            [form(n, total) for n in numbers],
        ]
        await connection.execute(
            "INSERT INTO offhook.messages (id, place, kind, state, lane, lane_name, account_sid, "
            "sid, sender, recipient, form, received, due, settled) "
            "SELECT id, id, 'message', state, lane, '', 'AC', sid, sender, '+15005550006', form, "
            "moment, moment, CASE WHEN state <> 'open' THEN moment END "
            "FROM unnest($1::bigint[], $2::bytea[], $3::text[], $4::text[], $5::text[], "
            "$6::bytea[]) AS given (id, lane, state, sid, sender, form), "
            "LATERAL (SELECT now() - ($7 - id) * interval '100 ms' AS moment) AS at",
            *columns,
            total,
        )
    await connection.execute("SELECT setval('offhook.message_ids', $1)", total)
    await connection.execute("INSERT INTO offhook.tallies VALUES ('messages', $1)", total)
    await connection.execute("VACUUM ANALYZE offhook.messages")
    await connection.close()


def questions(store: Store, total: int) -> dict[str, Callable[[], Awaitable[Any]]]:
    """Return what is asked, by what it is called."""
    every = Filter(kind=Kind.MESSAGE)
    middle = total // 2

    def find(**wanted: Any) -> Callable[[], Awaitable[Any]]:
        return lambda: store.find(Filter(kind=Kind.MESSAGE, **wanted))

    def search(text: str, **wanted: Any) -> Callable[[], Awaitable[Any]]:
        filtered = Filter(kind=Kind.MESSAGE, **wanted)
        return lambda: store.search(filtered, Phrase.of(text), within=SCAN_LIMIT)

    return {
        "the newest": lambda: store.find(every),
        "a page in the middle": find(before_id=middle),
        "the newest dead": find(state=State.DEAD),
        "the last page of the dead": find(state=State.DEAD, before_id=total // 50),
        "the open": find(state=State.OPEN),
        "a sender": find(sender=sender(middle)),
        "a sender who never wrote": find(sender="+15559999999"),
        "a sender's dead": find(sender=sender(3), state=State.DEAD),
        "a SID": find(sid=sid(middle)),
        "a text many wrote": search("thanks"),
        "a text one wrote": search(_RARE),
        "a text nobody wrote": search("elephant"),
        "a text nobody wrote, in Greek": search("ελέφαντας"),
        "a text, among the dead": search("elephant", state=State.DEAD),
        "one message": lambda: store.show(middle),
        "the overview's counts": store.counts,
    }


async def ask(url: str, total: int) -> dict[str, float]:
    """Ask all; return how long the answers took, in milliseconds."""
    store = open_store(url)
    await store.open()
    medians = {}
    try:
        for name, question in questions(store, total).items():
            took = []
            for _ in range(_ASKED):
                began = time.perf_counter()
                await question()
                took.append((time.perf_counter() - began) * 1000)
            medians[name] = statistics.median(took)
            print(f"  {name:<32} {medians[name]:7.1f} ms   {max(took):7.1f} ms")
    finally:
        await store.close()
    return medians


async def create(url: str) -> None:
    store = open_store(url)
    await store.open()
    await store.close()


@contextmanager
def sqlite(total: int, folder: Path) -> Iterator[str]:
    path = folder / "offhook.db"
    asyncio.run(create(f"sqlite:///{path}"))
    fill_sqlite(path, total)
    yield f"sqlite:///{path}"


@contextmanager
def postgresql(total: int, _folder: Path) -> Iterator[str]:
    with postgres() as server:
        asyncio.run(create(server.url))
        asyncio.run(fill_postgres(server.url, total))
        yield server.url


def main() -> None:
    """Fill the stores, and ask."""
    stores = {"sqlite": sqlite, "postgresql": postgresql}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--messages", type=int, default=1_000_000)
    parser.add_argument("--store", choices=stores, action="append")
    given = parser.parse_args()
    found = {}
    with tempfile.TemporaryDirectory(dir=Path.cwd()) as place:
        folder = Path(place)
        run = Run("dashboard", folder, partial=is_partial(parser, given))
        for name in given.store or stores:
            began = time.perf_counter()
            with stores[name](given.messages, folder) as url:
                took = time.perf_counter() - began
                print(f"{name}: {given.messages:,} messages, filled in {took:.0f} s", flush=True)
                found[name] = asyncio.run(ask(url, given.messages))
        run.write({"messages": given.messages, "stores": found})
    in_time = all(took <= _LIMIT for medians in found.values() for took in medians.values())
    sys.exit(0 if in_time else f"beyond {_LIMIT:g} ms")


if __name__ == "__main__":
    main()
