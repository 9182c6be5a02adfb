"""Webhooks on their way into the store: the arrivals logs of a machine, and its spool."""
