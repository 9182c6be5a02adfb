"""`offhook doctor`: find what is wrong with an installation, and how to fix it."""

import asyncio
from collections import Counter
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.text import Text

from offhook.cli.options import JsonOption, SettingsOfAppArgument, StoreOption
from offhook.cli.stores import settings_with
from offhook.doctor import CHECKS, EXTERNAL_CHECKS, Check, Finding, Findings, Severity, examine
from offhook.doctor.finding import fail
from offhook.errors import SettingsError
from offhook.process.machine import app_named
from offhook.terminal import console, print_json

_MARKS: Final = {Severity.OK: "✓", Severity.WARN: "!", Severity.FAIL: "✗"}
_STYLES: Final = {Severity.OK: "green", Severity.WARN: "yellow", Severity.FAIL: "bold red"}
_INDENT: Final = " " * 8


def command(
    app: SettingsOfAppArgument = None,
    *,
    store: StoreOption = None,
    offline: Annotated[
        bool, typer.Option("--offline", help="Skip the checks that call the public URL or Twilio.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Find what is wrong, and how to fix it.

    Checks the settings, store, cache and machine; that the public URL leads to offhook and rejects
    unsigned requests; which auth tokens it and Twilio accept; the webhooks configured at Twilio,
    and recent webhook errors there. Changes nothing. Exits 1 if a check fails; warnings do not
    count.

    The running bot logs some refused requests meanwhile: one without a signature, and one signed
    with each token that names no message.

    [bold]Examples[/]
      offhook doctor
      offhook doctor --offline
      offhook doctor bot:app --json
    """
    findings = _findings(app, store, CHECKS if offline else (*CHECKS, *EXTERNAL_CHECKS))
    if as_json:
        for finding in findings:
            print_json(
                {
                    "verdict": finding.severity,
                    "subject": finding.subject,
                    "text": finding.text,
                    "remedy": finding.remedy,
                }
            )
    else:
        _print(console(), findings)
    if any(finding.severity is Severity.FAIL for finding in findings):
        raise typer.Exit(1)


def _findings(app: str | None, store: str | None, checks: tuple[Check, ...]) -> Findings:
    try:
        settings = settings_with(store) if app is None else app_named(app).load().settings
        if app is not None and store is not None:
            named = settings_with(store)
            settings = settings.replace(store=named.store, store_direct=named.store_direct)
    except SettingsError as error:
        remedy = (
            "Correct it in the environment or in .env, then run doctor again for the other checks."
        )
        return [fail("settings", problem, remedy) for problem in error.problems]
    return asyncio.run(examine(settings, checks))


def _print(screen: Console, findings: Findings) -> None:
    width = max(len(finding.subject) for finding in findings)
    for finding in findings:
        screen.print(_line(finding, width, marks=screen.encoding.startswith("utf")), soft_wrap=True)
        if finding.remedy:
            screen.print(Text(f"{_INDENT}{finding.remedy}", "dim"), soft_wrap=True)
    tally = Counter(finding.severity for finding in findings)
    screen.print(", ".join(f"{tally[severity]} {severity}" for severity in Severity), style="dim")


def _line(finding: Finding, width: int, *, marks: bool) -> Text:
    mark = f"{_MARKS[finding.severity]} " if marks else ""
    return Text.assemble(
        (f"{mark}{finding.severity:<6}", _STYLES[finding.severity]),
        (f"{finding.subject:<{width}}  ", "bold"),
        finding.text,
    )
