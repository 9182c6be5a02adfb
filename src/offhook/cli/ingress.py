"""`offhook ingress`: answering alone, for many machines."""

from offhook.cli.options import AppArgument, ForceUnsigned, Host, Ingresses, Port
from offhook.process.machine import Machine
from offhook.process.plan import Role


def command(
    app: AppArgument,
    *,
    host: Host = None,
    port: Port = None,
    ingresses: Ingresses = None,
    force_unsigned: ForceUnsigned = False,
) -> None:
    """Answers webhooks, and leaves handling to worker machines.

    Any number of machines may run this, behind a load balancer that asks /readyz. Nothing but the
    store (OFFHOOK_STORE) joins them to the workers. With OFFHOOK_SPOOL on a disk that stays,
    webhooks are accepted while the store is away, and forwarded when it is back.

    [bold]Rolling deploys[/] Take one machine after the other: SIGTERM stops listening, finishes
    the requests under way and forwards what the spool holds, as far as there is time; a second
    signal ends it now. Old and new versions share one store.

    [bold]Needs[/] TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN and OFFHOOK_PUBLIC_URL, in the
    environment or in .env.

    [bold]Examples[/]
      offhook ingress bot:app --host 0.0.0.0 --ingresses 2
      OFFHOOK_SPOOL=sqlite:////var/lib/bot/spool.db offhook ingress bot:app
    """
    machine = Machine.named(app, host=host, port=port, ingresses=ingresses)
    machine.settings.require("account_sid", "auth_token", "public_url")
    machine.answer({Role.INGRESS}, forced=force_unsigned)
