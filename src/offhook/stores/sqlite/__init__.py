"""The embedded store: one SQLite file, shared by the processes of one machine."""

from offhook.stores.sqlite.store import SqliteStore

__all__ = ["SqliteStore"]
