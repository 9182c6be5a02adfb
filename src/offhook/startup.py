"""Warn at startup about mistakes that would otherwise go unnoticed."""

import os
from collections.abc import Iterator, Mapping
from difflib import get_close_matches
from typing import Final
from urllib.parse import urlsplit

from offhook.core.urls import is_public
from offhook.events import Problem, Topic
from offhook.settings import Settings, variable, variables
from offhook.worker.handlers import Handlers

_PREFIXES: Final = ("OFFHOOK_", "TWILIO_")
_ALIKE: Final = 0.75  # of 1.0: a letter or two, or a missing part of the name


def startup_warnings(settings: Settings, handlers: Handlers) -> Iterator[Problem]:
    """Yield the warnings about a bot that is starting."""
    for name, nearest in unknown_variables().items():
        hint = f": did you mean {nearest}?" if nearest else ""
        yield Problem(Topic.SETTINGS, f"{name} is set, but is not a setting{hint}")
    parts = urlsplit(settings.public_url)
    if parts.scheme == "http" and is_public(parts.hostname or ""):
        text = "OFFHOOK_PUBLIC_URL is not https: messages travel unencrypted"
        yield Problem(Topic.SETTINGS, text)
    if not handlers:
        text = "the bot has no handlers, so no message is answered: write one with @app.message()"
        yield Problem(Topic.NO_HANDLERS, text)


def unknown_variables(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """Return the variables that only look like settings, each with the most similar setting.

    Other programs use `TWILIO_*` too, so those are returned only if they resemble a setting that is
    not set.
    """
    known = {variable(name) for name in Settings.defaults()}
    given = {name for name in variables(environment=environment) if name.startswith(_PREFIXES)}
    unknown = {name: _nearest(name, known) for name in sorted(given - known)}
    return {
        name: nearest
        for name, nearest in unknown.items()
        if name.startswith("OFFHOOK_") or (nearest and nearest not in given)
    }


def _nearest(name: str, known: set[str]) -> str:
    """Return the setting with the most similar name, ignoring prefixes."""
    ends = {_end(one): one for one in known}
    found = get_close_matches(_end(name), ends, n=1, cutoff=_ALIKE)
    return ends[found[0]] if found else ""


def _end(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name
