"""Brings a database's schema up to date. The version is SQLite's own `user_version`."""

import sqlite3

from offhook.stores.migrations import migrations, missing


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that are missing, each in a transaction. Under the writers' lock.

    Raises:
        SchemaTooNew: a newer offhook has changed it in a way that this one does not understand.
    """
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    known = migrations("offhook.stores.sqlite.migrations")
    for migration in missing(known, version):
        # executescript commits by itself first, so the transaction is part of the script.
        connection.executescript(
            f"BEGIN IMMEDIATE; {migration.sql} PRAGMA user_version = {migration.version}; COMMIT;"
        )
