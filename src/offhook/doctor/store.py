"""Checks of the store: that it opens, that its backlog is short, and that people are answered."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from offhook.arrivals.waiting import counts
from offhook.core.lifecycle import SendState, State
from offhook.doctor.files import deleted_in_use
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.errors import SchemaTooNew, StoreError
from offhook.settings import Settings, UnknownSendPolicy
from offhook.stores import opened
from offhook.stores.api import Counts
from offhook.stores.migrations import migrations
from offhook.terminal import duration
from offhook.twilio.shortfalls import shortfalls

_DAY = 86_400.0
_STUCK = 900.0  # seconds that a reply may wait, as of the alert `replies-pending`
_REASONS = 10
_LATE = 60.0  # seconds that a message may wait before the workers should be checked


async def reachable(settings: Settings) -> Findings:
    """Check that the store is writable and has our schema. Changes nothing in it."""
    if (finding := await _unready(settings)) is not None:
        return [finding]
    try:
        async with opened(settings) as store:
            await store.check()
    except SchemaTooNew as error:
        return [fail("store", str(error), "Install the newer offhook again.")]
    except StoreError as error:
        remedy = "Fix the error, or use another store in OFFHOOK_STORE."
        return [fail("store", str(error), remedy)]
    return [ok("store", "readable and writable; its schema is up to date")]


async def backlog(settings: Settings) -> Findings:
    """Check for messages that no worker takes, and for those that wait for a decision."""
    found = await _counts(settings)
    return [] if found is None else [*_waiting(found), *_unfinished(found, settings)]


async def replies(settings: Settings) -> Findings:
    """Check for replies that reached nobody, and for people who got none."""
    found = await _counts(settings)
    return [] if found is None else _undelivered(found)


async def _counts(settings: Settings) -> Counts | None:
    """Return the store's counts; None if it can't be read, which `reachable` reports."""
    if await _unready(settings) is not None:
        return None
    try:
        async with opened(settings) as store:
            return await counts(store)
    except StoreError:
        return None


async def _unready(settings: Settings) -> Finding | None:
    if settings.store_file is not None:
        return _schema(settings.store_file)
    from offhook.doctor.postgres import schema  # noqa: PLC0415 - it imports the driver

    return await schema(settings)


def _schema(path: Path) -> Finding | None:
    """Return a finding if opening the store would create or migrate the file; None otherwise."""
    if deleted_in_use(path):
        remedy = "First stop the processes that use it: as they exit, they save what its log holds."
        return fail("store", f"{path} was not opened: its files were removed while in use", remedy)
    if not path.exists():
        return _missing(path)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        remedy = "Check the file's owner, and that it is a database of offhook's."
        return fail("store", f"{path} cannot be read: {error}", remedy)
    known = migrations("offhook.stores.sqlite.migrations")[-1].version
    if version < known:
        text = f"its schema is version {version}, this offhook's is {known}"
        return warn("store", text, "Run `offhook migrate`; every start migrates too.")
    return None


def _missing(path: Path) -> Finding:
    """Return the finding for a missing file: not created yet, or removed."""
    if not path.parent.is_dir():
        return fail("store", f"directory {path.parent} does not exist", "Create it.")
    lock = path.with_name(f"{path.name}-lock")
    if lock.exists():  # created with the store; creating another store would hide the loss
        remedy = f"Put it back, or restore a backup. To start with an empty one, remove {lock}."
        return fail("store", f"{path} is missing: it was removed or renamed", remedy)
    return warn("store", f"{path} does not exist yet", "`offhook migrate` creates it.")


def _waiting(counts: Counts) -> Findings:
    if counts.oldest is None or counts.oldest < _LATE:
        return [ok("workers", "no message has waited long")]
    remedy = "Check that a worker runs, and its log; `offhook stats` shows counts."
    return [warn("workers", f"the oldest message has waited {counts.oldest:,.0f} s", remedy)]


def _undelivered(counts: Counts) -> Findings:
    """Return a finding for each reason for which replies have reached nobody."""
    found = []
    waited = counts.oldest_send
    if waited is not None and waited >= _STUCK:
        text = f"a reply has waited to be sent for {duration(waited)}"
        remedy = "`offhook sends list --state pending` shows why; check that a worker runs."
        found.append(fail("replies", text, remedy))
    if counts.unanswered:
        people = "1 person has" if counts.unanswered == 1 else f"{counts.unanswered:,} people have"
        text = f"{people} got no reply to a message that was handled"
        found.append(warn("replies", text, "The reasons follow."))
    for one in shortfalls(counts)[:_REASONS]:
        remedy = (
            f"{one.meaning} If the cause is gone: `offhook sends retry --all {one.options}`; "
            f"otherwise `offhook sends cancel --all {one.options}`."
        )
        found.append(warn("replies", one.text, remedy))
    if not found and counts.oldest_send is None:
        found.append(ok("replies", "none waits, was refused or was not delivered"))
    return found


def _unfinished(counts: Counts, settings: Settings) -> Findings:
    found = []
    dead, parked = counts.messages[State.DEAD], counts.messages[State.PARKED]
    if dead:
        remedy = "`offhook messages list --state dead` shows them."
        found.append(warn("messages", f"{dead:,} are dead", remedy))
    if parked:
        goes = time.time() - (counts.parked or 0.0) + settings.parked_retention * _DAY
        day = time.strftime("%Y-%m-%d", time.localtime(goes))
        text = f"{parked:,} are parked; the first is deleted on {day}"
        remedy = "`offhook messages list --state parked` shows them: replay or discard them."
        found.append(warn("messages", text, remedy))
    if number := counts.sends[SendState.UNKNOWN]:
        text = f"{number:,} replies may or may not have been sent"
        remedy = "Status callbacks settle them: check that Twilio reaches OFFHOOK_PUBLIC_URL."
        if settings.unknown_sends is UnknownSendPolicy.ASK:
            remedy += " Without one, they are looked up in Twilio's message list for ten hours."
        found.append(warn("replies", text, remedy))
    return found
