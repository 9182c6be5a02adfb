"""`offhook run`: answering and handling in processes of their own, supervised."""

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


def command(
    app: AppArgument,
    *,
    host: Host = None,
    port: Port = None,
    ingresses: Ingresses = None,
    workers: Workers = None,
    worker_nice: WorkerNice = None,
    force_unsigned: ForceUnsigned = False,
) -> None:
    """Serves a bot in production, on one machine.

    Webhooks are answered by processes of their own, so that no handler can delay an answer.
    Whatever dies or stands still is replaced, and its messages go on. SIGTERM and Ctrl-C let
    everything finish first; a second one ends it now.

    [bold]Needs[/] TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and OFFHOOK_PUBLIC_URL, in the
    environment or in .env.

    [bold]Examples[/]
      offhook run bot:app
      offhook run bot:app --host 0.0.0.0 --port 8080 --workers 2
    """
    machine = Machine.named(
        app,
        host=host,
        port=port,
        ingresses=ingresses,
        workers=workers,
        worker_nice=worker_nice,
    )
    machine.settings.require("account_sid", "auth_token", "public_url")
    machine.answer({Role.INGRESS, Role.WORKER}, forced=force_unsigned)
