"""Accepting webhooks while the store is away: kept on this machine's disk, and forwarded."""

from offhook.spool.spooling import Spooling

__all__ = ["Spooling"]
