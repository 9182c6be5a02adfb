"""Processes: a supervisor, what it starts, and what those run."""
