"""Brings a database's schema up to date. The version is SQLite's own `user_version`."""

import sqlite3

from offhook.errors import SchemaTooNew
from offhook.stores.migrations import migrations


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that are missing, each in a transaction. Under the writers' lock.

    Raises:
        SchemaTooNew: the database was written by a newer offhook.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    known = migrations("offhook.stores.sqlite.migrations")
    if version > len(known):
        raise SchemaTooNew(
            f"the store has schema {version}, this offhook knows {len(known)}: install a newer one"
        )
    for migration in known[version:]:
        # executescript commits by itself first, so the transaction is part of the script.
        connection.executescript(
            f"BEGIN IMMEDIATE; {migration.sql} PRAGMA user_version = {migration.version}; COMMIT;"
        )
