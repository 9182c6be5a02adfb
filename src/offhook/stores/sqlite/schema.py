"""Bring a database's schema up to date. The version is SQLite's own `user_version`."""

import sqlite3
from collections.abc import Iterator

from offhook.stores.migrations import Migration, migrations, missing


def migrate(connection: sqlite3.Connection) -> None:
    """Apply the migrations that are missing, each in a transaction.

    Raises:
        SchemaTooNew: a newer offhook has changed it in a way that this one does not understand.
    """
    known = migrations("offhook.stores.sqlite.migrations")
    while steps := missing(known, _version(connection)):
        _apply(connection, steps[0])


def _apply(connection: sqlite3.Connection, step: Migration) -> None:
    connection.execute("BEGIN IMMEDIATE")
    try:
        # Another process may have been quicker: the writers' lock is not waited for for ever.
        if _version(connection) < step.version:
            for statement in _statements(step.sql):
                connection.execute(statement)
            connection.execute(f"PRAGMA user_version = {step.version}")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")


def _version(connection: sqlite3.Connection) -> int:
    (version,) = connection.execute("PRAGMA user_version").fetchone()
    return int(version)


def _statements(sql: str) -> Iterator[str]:
    """Split a script, whose statements end with a line each: `executescript` commits first."""
    statement = ""
    for line in sql.splitlines(keepends=True):
        statement += line
        if sqlite3.complete_statement(statement):
            yield statement
            statement = ""
