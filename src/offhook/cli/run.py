"""`offhook run`: answering and handling in processes of their own, supervised."""

import logging
import socket
from typing import Annotated, Any

import typer

from offhook.cli.children import Child
from offhook.cli.listening import is_public, listen, run_loop, url_of
from offhook.cli.loading import AppName
from offhook.cli.logs import configure
from offhook.cli.options import AppArgument, app_named
from offhook.cli.seats import Limits, Role, Seat
from offhook.cli.signals import on_signals
from offhook.cli.stores import opened
from offhook.cli.supervisor import Supervisor
from offhook.errors import SettingsError
from offhook.settings import Settings, SignaturePolicy

_log = logging.getLogger("offhook")

# Added to what a handler may take: a worker whose loop stands still for longer is replaced.
_SILENCE = 10.0
# Added to the time for draining: children that end in time need not be killed a moment before.
_DRAIN = 5.0


def command(
    app: AppArgument,
    *,
    host: Annotated[str | None, typer.Option(help="Listen here. [OFFHOOK_HOST]")] = None,
    port: Annotated[
        int | None, typer.Option(min=0, max=65535, help="Listen here. [OFFHOOK_PORT]")
    ] = None,
    ingresses: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that answer.")
    ] = None,
    workers: Annotated[
        int | None, typer.Option(min=1, max=64, help="Processes that run handlers.")
    ] = None,
    worker_nice: Annotated[
        int | None,
        typer.Option(
            min=0, max=19, help="Niceness of workers, so that busy handlers do not delay answers."
        ),
    ] = None,
    force_unsigned: Annotated[
        bool, typer.Option(help="Allow OFFHOOK_SIGNATURE=off on a public address.")
    ] = False,
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
    name = app_named(app)
    offhook = name.load()
    given: dict[str, Any] = {
        "host": host,
        "port": port,
        "ingresses": ingresses,
        "workers": workers,
        "worker_nice": worker_nice,
    }
    offhook.configure(**{key: value for key, value in given.items() if value is not None})
    settings = offhook.settings
    settings.require("account_sid", "auth_token", "public_url")
    configure(settings)
    with listen(settings.host, settings.port) as listener:
        _check_signature(settings, listener, forced=force_unsigned)
        run_loop(lambda: _supervise(name, settings, listener))


def _check_signature(settings: Settings, listener: socket.socket, *, forced: bool) -> None:
    if settings.signature is SignaturePolicy.OFF and is_public(listener) and not forced:
        raise SettingsError(
            f"OFFHOOK_SIGNATURE is off and {settings.host} can be reached by others: anybody could "
            "send messages to your bot. Set it to required, or add --force-unsigned"
        )


async def _supervise(name: AppName, settings: Settings, listener: socket.socket) -> None:
    async with opened(settings.store):
        pass  # children find the schema up to date

    def spawn(seat: Seat, owner: str) -> Child:
        arguments: dict[Role, list[str]] = {
            Role.INGRESS: ["--listener", str(listener.fileno())],
            Role.WORKER: ["--owner", owner, "--nice", str(settings.worker_nice)],
        }
        return Child.start(
            "offhook.cli.roles",
            [seat.role, name.text, *arguments[seat.role]],
            sockets=[listener] if seat.role is Role.INGRESS else [],
        )

    async def release(owner: str) -> None:
        async with opened(settings.store) as store:
            await store.release(owner)

    def ready() -> None:
        _log.info("listening on %s for %s/twilio/messages", url_of(listener), settings.public_url)

    supervisor = Supervisor(
        _seats(settings),
        spawn=spawn,
        release=release,
        on_ready=ready,
        limits=Limits(
            silence=settings.handler_timeout + _SILENCE, drain=settings.drain_timeout + _DRAIN
        ),
    )

    def stop() -> None:
        listener.close()  # who connects now is refused at once, instead of waiting for nobody
        supervisor.stop()

    on_signals(stop)
    await supervisor.run()
    _log.info("ended: everything that was acknowledged is stored")


def _seats(settings: Settings) -> list[Seat]:
    return [
        *(Seat(Role.INGRESS, number + 1) for number in range(settings.ingresses)),
        *(Seat(Role.WORKER, number + 1) for number in range(settings.workers)),
    ]
