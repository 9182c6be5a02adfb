"""Webhooks on their way into the store: the arrivals logs of a SQLite store, and the spool."""

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.spooling import Spooling

__all__ = ["Breaker", "Spooling"]
