"""The spool: webhooks are kept on this machine's disk while the store is unavailable."""

from offhook.arrivals.breaker import Breaker
from offhook.arrivals.spooling import Spooling

__all__ = ["Breaker", "Spooling"]
