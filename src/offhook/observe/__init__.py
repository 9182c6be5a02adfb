"""Turn events into logs, metrics and traces, and read what a machine's processes use."""
