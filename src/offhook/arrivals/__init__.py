"""The spool: webhooks are kept on this machine's disk while the store is unavailable."""

from offhook.arrivals.breaker import Primary
from offhook.arrivals.spooling import Spooling

__all__ = ["Primary", "Spooling"]
