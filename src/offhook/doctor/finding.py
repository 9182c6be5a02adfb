"""What an examination says."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offhook.settings import Settings


class Severity(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"  # it works, and somebody will be sorry
    FAIL = "fail"  # it does not work, or messages can be lost


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        subject: what was looked at: `public URL`, `store`, ...
        text: what was found, without secrets.
        remedy: what to do about it; empty where nothing is to be done.
    """

    severity: Severity
    subject: str
    text: str
    remedy: str = ""


Findings = Sequence[Finding]
Check = Callable[[Settings], Coroutine[Any, Any, Findings]]
"""Looks at one thing and reports; it may raise, which is reported for it."""


def ok(subject: str, text: str) -> Finding:
    """Return that all is well."""
    return Finding(Severity.OK, subject, text)


def warn(subject: str, text: str, remedy: str) -> Finding:
    """Return that something could be better."""
    return Finding(Severity.WARN, subject, text, remedy)


def fail(subject: str, text: str, remedy: str) -> Finding:
    """Return that something is wrong."""
    return Finding(Severity.FAIL, subject, text, remedy)
