"""`offhook worker`: handling alone, for many machines."""

import logging

from offhook.cli.options import AppArgument, WorkerNice, Workers
from offhook.process.machine import Machine

_log = logging.getLogger("offhook")


def command(
    app: AppArgument,
    *,
    workers: Workers = None,
    worker_nice: WorkerNice = None,
) -> None:
    """Handles messages that ingress machines have stored.

    Any number of machines may run this; nothing but the store (OFFHOOK_STORE) joins them. A store
    that is away is waited for. A process that dies or stands still is replaced, and its messages
    go on; those of a machine that is gone go on when their leases (OFFHOOK_LEASE) run out.

    [bold]Rolling deploys[/] Take one machine after the other: SIGTERM takes no more messages and
    lets handlers end within OFFHOOK_DRAIN_TIMEOUT, then hands theirs back, which costs no
    attempt; a second signal ends it now. Old and new versions share one store.

    [bold]Needs[/] TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, in the environment or in .env; with
    OFFHOOK_PUBLIC_URL Twilio reports what becomes of replies.

    [bold]Examples[/]
      offhook worker bot:app --workers 2
      OFFHOOK_STORE=postgresql://bot@db/bot offhook worker bot:app
    """
    machine = Machine.named(app, workers=workers, worker_nice=worker_nice)
    machine.settings.require("account_sid", "auth_token")
    if not machine.settings.public_url:
        _log.warning(
            "OFFHOOK_PUBLIC_URL is not set: Twilio reports to nobody what became of a reply"
        )
    machine.work()
