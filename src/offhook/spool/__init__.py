"""The spool: webhooks are kept on this machine's disk while the store is unavailable."""

from offhook.spool.primary import Primary
from offhook.spool.spooling import Spooling

__all__ = ["Primary", "Spooling"]
