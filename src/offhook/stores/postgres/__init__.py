"""The shared store: a PostgreSQL database, and any number of machines."""

from offhook.stores.postgres.store import PostgresStore

__all__ = ["PostgresStore"]
