"""Diagnose an installation: settings, store, machine. Each check is a function in `CHECKS`."""

import asyncio
from typing import Final

from offhook.doctor import (
    configuration,
    files,
    public_url,
    servers,
    storage,
    store,
    twilio_account,
)
from offhook.doctor.finding import Check, Finding, Findings, Severity, fail
from offhook.settings import Settings

__all__ = ["CHECKS", "EXTERNAL_CHECKS", "Check", "Finding", "Findings", "Severity", "examine"]

CHECKS: Final[tuple[Check, ...]] = (
    configuration.variables,
    configuration.account,
    configuration.signature,
    configuration.public_url,
    configuration.proxies,
    configuration.sender,
    configuration.senders,
    configuration.connections,
    files.deleted_files,
    store.reachable,
    files.integrity,
    files.log_size,
    files.unsorted,
    files.waiting_in_spool,
    store.backlog,
    store.replies,
    storage.file_system,
    storage.free_space,
    storage.file_modes,
    servers.postgres,
    servers.redis,
)
"""All checks of this installation, in the order in which to fix what they find."""

EXTERNAL_CHECKS: Final[tuple[Check, ...]] = (
    public_url.webhook,
    twilio_account.tokens,
    twilio_account.connections,
    twilio_account.alerts,
)
"""Checks that call the public URL and Twilio. A new check is a function, and a line above."""

_TIMEOUT: Final = 10.0  # seconds for each check


async def examine(settings: Settings, checks: tuple[Check, ...] = CHECKS) -> Findings:
    """Return the findings of all checks, in their order. A check that raises becomes a finding."""
    found = await asyncio.gather(*(_run(check, settings) for check in checks))
    return [finding for findings in found for finding in findings]


async def _run(check: Check, settings: Settings) -> Findings:
    name = check.__name__.replace("_", " ")
    try:
        async with asyncio.timeout(_TIMEOUT):
            return await check(settings)
    except TimeoutError:
        text = f"timed out after {_TIMEOUT:g} s"
    except Exception as error:  # noqa: BLE001 - one check that breaks must not hide the others
        text = f"the check failed: {type(error).__name__}"
    return [fail(name, text, "Run it again; if it fails again, report a bug.")]
