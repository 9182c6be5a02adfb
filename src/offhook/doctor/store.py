"""Checks of what the store says."""

import sqlite3
import time
from contextlib import closing
from pathlib import Path

from offhook.core.lifecycle import SendState, State
from offhook.doctor.files import deleted_in_use
from offhook.doctor.finding import Finding, Findings, fail, ok, warn
from offhook.doctor.postgres import schema
from offhook.errors import SchemaTooNew, StoreError
from offhook.settings import Settings
from offhook.stores import opened
from offhook.stores.api import Counts
from offhook.stores.migrations import migrations

_DAY = 86_400.0
_LATE = 60.0  # seconds that a message may wait before somebody should look at the workers


async def reachable(settings: Settings) -> Findings:
    """Look whether the store can be written, and has our schema. Changes nothing in it."""
    if (finding := await _unready(settings)) is not None:
        return [finding]
    try:
        async with opened(settings) as store:
            await store.check()
    except SchemaTooNew as error:
        return [fail("store", str(error), "Install the newer offhook again.")]
    except StoreError as error:
        remedy = "Correct what it says, or name another store in OFFHOOK_STORE."
        return [fail("store", str(error), remedy)]
    return [ok("store", "it can be read and written, and its schema is up to date")]


async def backlog(settings: Settings) -> Findings:
    """Look for work that nobody does, and for what waits for a decision."""
    if await _unready(settings) is not None:
        return []
    try:
        async with opened(settings) as store:
            counts = await store.counts()
    except StoreError:
        return []  # told by `reachable`
    return [*_waiting(counts), *_set_aside(counts, settings)]


async def _unready(settings: Settings) -> Finding | None:
    if settings.store_file is not None:
        return _schema(settings.store_file)
    return await schema(settings)


def _schema(path: Path) -> Finding | None:
    """Return what is to be said of a file that opening would make, or migrate."""
    if deleted_in_use(path):
        remedy = "First end the processes that use it: as they exit, they save what its log holds."
        return fail("store", f"{path} was not opened: its files were removed while in use", remedy)
    if not path.exists():
        return _missing(path)
    try:
        with closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as connection:
            (version,) = connection.execute("PRAGMA user_version").fetchone()
    except sqlite3.Error as error:
        remedy = "See who owns the file, and whether it is a database of offhook's."
        return fail("store", f"{path} can't be read: {error}", remedy)
    known = migrations("offhook.stores.sqlite.migrations")[-1].version
    if version < known:
        text = f"its schema is {version}, this offhook's is {known}"
        return warn("store", text, "`offhook migrate` brings it up to date, as every start does.")
    return None


def _missing(path: Path) -> Finding:
    """Return what is to be said where there is no file: there was none yet, or it is gone."""
    if not path.parent.is_dir():
        return fail("store", f"there is no directory {path.parent}", "Make it.")
    lock = path.with_name(f"{path.name}-lock")
    if lock.exists():  # made with the store; a command that made another would hide the loss
        remedy = f"Put it back, or restore a backup. To start with an empty one, remove {lock}."
        return fail("store", f"{path} is gone: it was removed or renamed", remedy)
    return warn("store", f"there is none at {path} yet", "`offhook migrate` makes it.")


def _waiting(counts: Counts) -> Findings:
    if counts.oldest is None or counts.oldest < _LATE:
        return [ok("workers", "no message waits for long")]
    remedy = "See whether a worker runs, and what its log says; `offhook stats` counts."
    return [warn("workers", f"the oldest message has waited {counts.oldest:,.0f} s", remedy)]


def _set_aside(counts: Counts, settings: Settings) -> Findings:
    found = []
    dead, parked = counts.messages[State.DEAD], counts.messages[State.PARKED]
    if dead:
        remedy = "`offhook messages list --state dead` shows them."
        found.append(warn("messages", f"{dead:,} are dead", remedy))
    if parked:
        goes = time.time() - (counts.parked or 0.0) + settings.parked_retention * _DAY
        day = time.strftime("%Y-%m-%d", time.localtime(goes))
        text = f"{parked:,} are set aside; the first is deleted on {day}"
        remedy = "`offhook messages list --state parked` shows them: replay or discard them."
        found.append(warn("messages", text, remedy))
    if number := counts.sends[SendState.UNKNOWN]:
        text = f"of {number:,} replies it is unknown whether they left"
        remedy = "Their status callbacks tell: see whether Twilio reaches OFFHOOK_PUBLIC_URL."
        found.append(warn("replies", text, remedy))
    return found
