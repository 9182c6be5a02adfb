"""`offhook run`, `offhook ingress` and `offhook worker`: one machine's processes, supervised."""

import logging

from offhook.cli.options import (
    AppArgument,
    ForceUnsigned,
    Host,
    Ingresses,
    Port,
    WorkerNice,
    Workers,
)
from offhook.process.machine import Machine
from offhook.process.plan import Role

_log = logging.getLogger("offhook")


def run(
    app: AppArgument,
    *,
    host: Host = None,
    port: Port = None,
    ingresses: Ingresses = None,
    workers: Workers = None,
    worker_nice: WorkerNice = None,
    force_unsigned: ForceUnsigned = False,
) -> None:
    """Serve a bot in production, on one machine.

    Webhooks are answered in processes of their own, so a handler can't delay an answer. A process
    that dies or hangs is replaced, and its messages are retried. SIGTERM and Ctrl-C finish the
    current work first; a second one stops at once.

    [bold]Needs[/] TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and OFFHOOK_PUBLIC_URL, in the
    environment or in .env.

    [bold]Examples[/]
      offhook run bot:app
      offhook run bot:app --host 0.0.0.0 --port 8080 --workers 2
    """
    machine = Machine.load(
        app,
        host=host,
        port=port,
        ingresses=ingresses,
        workers=workers,
        worker_nice=worker_nice,
    )
    machine.settings.require("account_sid", "auth_token", "public_url")
    machine.serve({Role.INGRESS, Role.WORKER}, forced=force_unsigned)


def ingress(
    app: AppArgument,
    *,
    host: Host = None,
    port: Port = None,
    ingresses: Ingresses = None,
    force_unsigned: ForceUnsigned = False,
) -> None:
    """Answer webhooks, and leave the handling to workers.

    Any number of machines may run this, behind a load balancer that checks /readyz. They share
    only the store (OFFHOOK_STORE) with the workers. With OFFHOOK_SPOOL on a persistent disk,
    webhooks are accepted while the store is unavailable, and forwarded once it is available again.

    [bold]Rolling deploys[/] Restart one machine after another. SIGTERM stops listening, finishes
    the requests under way and forwards the spool for as long as OFFHOOK_DRAIN_TIMEOUT allows; a
    second signal stops at once. Old and new versions can share one store.

    [bold]Needs[/] TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and OFFHOOK_PUBLIC_URL, in the
    environment or in .env.

    [bold]Examples[/]
      offhook ingress bot:app --host 0.0.0.0 --ingresses 2
      OFFHOOK_SPOOL=sqlite:////var/lib/bot/spool.db offhook ingress bot:app
    """
    machine = Machine.load(app, host=host, port=port, ingresses=ingresses)
    machine.settings.require("account_sid", "auth_token", "public_url")
    machine.serve({Role.INGRESS}, forced=force_unsigned)


def worker(
    app: AppArgument,
    *,
    workers: Workers = None,
    worker_nice: WorkerNice = None,
) -> None:
    """Handle messages that ingress machines have stored.

    Any number of machines may run this; they share only the store (OFFHOOK_STORE), and wait for
    it while it is unavailable. A process that dies or hangs is replaced, and its messages are
    retried. Those of a machine that is gone are retried when their leases (OFFHOOK_LEASE) expire.

    [bold]Rolling deploys[/] Restart one machine after another. SIGTERM stops claiming messages,
    lets handlers finish within OFFHOOK_DRAIN_TIMEOUT and releases the rest, which does not count
    as an attempt; a second signal stops at once. Old and new versions can share one store.

    [bold]Needs[/] TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN, in the environment or in .env; with
    OFFHOOK_PUBLIC_URL, Twilio reports the delivery of replies.

    [bold]Examples[/]
      offhook worker bot:app --workers 2
      OFFHOOK_STORE=postgresql://bot@db/bot offhook worker bot:app
    """
    machine = Machine.load(app, workers=workers, worker_nice=worker_nice)
    machine.settings.require("account_sid", "auth_token")
    if not machine.settings.public_url:
        _log.warning("OFFHOOK_PUBLIC_URL is not set: Twilio can't report the delivery of replies")
    machine.run_workers()
