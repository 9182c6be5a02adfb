"""The result of a check."""

from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from offhook.settings import Settings


class Severity(StrEnum):
    """The severity of a finding."""

    OK = "ok"
    WARN = "warn"  # works, but likely to cause problems later
    FAIL = "fail"  # does not work, or can lose messages


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of a diagnosis.

    Attributes:
        subject: `public URL`, `store`, ...
        text: the result, without secrets.
        remedy: how to fix it; empty if nothing has to be done.
    """

    severity: Severity
    subject: str
    text: str
    remedy: str = ""


Findings = Sequence[Finding]
Check = Callable[[Settings], Coroutine[Any, Any, Findings]]
"""Checks one thing. An exception is reported as a failure of the check."""


def ok(subject: str, text: str) -> Finding:
    """Return a finding of severity OK."""
    return Finding(Severity.OK, subject, text)


def warn(subject: str, text: str, remedy: str) -> Finding:
    """Return a finding of severity WARN."""
    return Finding(Severity.WARN, subject, text, remedy)


def fail(subject: str, text: str, remedy: str) -> Finding:
    """Return a finding of severity FAIL."""
    return Finding(Severity.FAIL, subject, text, remedy)
