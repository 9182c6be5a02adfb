"""Prometheus, as Debian has it."""

import shutil

import pytest


def program(name: str) -> str:
    """Return where a program of Prometheus' is."""
    found = shutil.which(name)
    if found is None:
        pytest.fail(
            f"{name} is not there: install Prometheus (Debian: apt-get install "
            "--no-install-recommends prometheus; it has promtool too)"
        )
    return found
