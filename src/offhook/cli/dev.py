"""`offhook dev`: a bot with a simulated Twilio, reloaded on change."""

import asyncio
import socket
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console

from offhook.cli.options import AppArgument, parse_port, parsed
from offhook.dev.session import Session, announced, error_file
from offhook.dev.store import own_store
from offhook.errors import ConfigurationError
from offhook.extras import missing
from offhook.process import loading
from offhook.process.app_loader import AppName
from offhook.process.child import Child
from offhook.process.event_loop import on_signals, run_loop
from offhook.process.machine import app_named
from offhook.process.sockets import is_public, listen, url_of
from offhook.settings import read, variable, variables
from offhook.terminal import console

# Only `offhook run` uses them.
_IGNORED_IN_TUNNEL: Final = frozenset(map(variable, ("public_url", "store", "spool", "cache")))
_IGNORED: Final = _IGNORED_IN_TUNNEL | set(map(variable, ("account_sid", "auth_token", "api_key")))

_REAL: Final = "[bold yellow]real: people get real messages, and your account pays for them[/]"


def command(
    app: AppArgument,
    *,
    host: Annotated[
        str, typer.Option(metavar="ADDRESS", help="Address to listen on.")
    ] = "127.0.0.1",
    port: Annotated[
        int,
        typer.Option(
            parser=parse_port, metavar="PORT", help="Port to listen on; 0 for any free port."
        ),
    ] = 8000,
    reload: Annotated[bool, typer.Option(help="Restart when a file changes.")] = True,
    tunnel_url: Annotated[
        str,
        typer.Option(
            parser=parsed(partial(read, "public_url")),
            metavar="URL",
            help="Use the real Twilio, which calls this URL of a tunnel to this port.",
        ),
    ] = "",
) -> None:
    """Serve a bot with a simulated Twilio; reload on change.

    No account, tunnel or settings are needed, and nothing leaves this machine. Each running
    `offhook dev` keeps its messages in a store of its own in .offhook/ of the working directory;
    OFFHOOK_STORE is not used.

    With --tunnel-url, people write to a real number and get real messages, which your account pays
    for: TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN are needed, in the environment or in .env. The
    phone and `offhook text` are for the simulated Twilio.

    [bold]Examples[/]
      offhook dev bot:app
      offhook dev bot:app --port 9000 --no-reload
      offhook dev bot:app --tunnel-url https://example.ngrok.app
      offhook text hello  # in another terminal
    """
    if reload and (reason := missing("dev")):
        raise ConfigurationError(f"reloading {reason}; or use --no-reload")
    name = app_named(app)
    kind = "tunnel" if tunnel_url else "dev"
    with listen(host, port) as listener, own_store(Path.cwd(), kind) as store:
        session = Session.begin(url_of(listener), store, tunnel_url)
        with announced(session) as file:
            if reload:
                done = run_loop(lambda: _serve_reloading(name, listener, session, file))
            else:
                done = run_loop(lambda: _serve_once(name, listener, session))
    if not done:
        raise typer.Exit(1)


async def _serve_once(name: AppName, listener: socket.socket, session: Session) -> bool:
    loading.begin()
    # Not at the top: with --reload a child serves, and its parent starts in half the time.
    from offhook.dev.child import loaded, serving  # noqa: PLC0415

    app = loaded(name, session)
    stop = asyncio.Event()
    on_signals(stop.set)
    async with serving(app, listener, session) as server:
        _welcome(console(), name, listener, session)
        await server.run_until(stop)
    return True


async def _serve_reloading(
    name: AppName, listener: socket.socket, session: Session, file: Path
) -> bool:
    # Not at the top: without --reload, nothing of it needs to be installed.
    from offhook.dev.reload import Reloader, ReloadEvent  # noqa: PLC0415

    screen = console()
    greeted = False

    def tell(news: ReloadEvent) -> None:
        nonlocal greeted
        match news:
            case ReloadEvent.READY if not greeted:
                greeted = True
                _welcome(screen, name, listener, session)
            case ReloadEvent.READY:
                screen.print("reloaded", style="green")
            case ReloadEvent.CHANGED:
                screen.print("a file has changed: reloading", style="dim")
            case ReloadEvent.BROKEN:
                screen.print("the bot has exited; the next change restarts it", style="yellow")

    def start() -> Child:
        arguments = [name.text, "--session", str(file), "--listener", str(listener.fileno())]
        return Child.start("offhook.dev.child", arguments, shared=[listener])

    def stand_in() -> AbstractAsyncContextManager[None]:
        # Not at the top: most reloads work, and it imports what serves pages.
        from offhook.dev.broken import standing_in  # noqa: PLC0415

        return standing_in(listener, session, error_file(file))

    reloader = Reloader(start, name.directory, tell, stand_in)
    on_signals(reloader.stop)
    return await reloader.run()


def _welcome(screen: Console, name: AppName, listener: socket.socket, session: Session) -> None:
    real = bool(session.tunnel)
    screen.print(f"\n[bold]offhook[/] serving [bold]{name.module}:{name.attribute}[/]\n")
    if not real:
        screen.print(f"  phone     [bold cyan]{session.phone}[/]", soft_wrap=True)
    screen.print(f"  dashboard [bold cyan]{session.dashboard}[/]", soft_wrap=True)
    screen.print(f"  webhook   {session.webhook}", soft_wrap=True)
    screen.print(f"  Twilio    {_REAL if real else 'simulated: nothing leaves this machine'}")
    screen.print(f"  store     {Path(session.store).relative_to(Path.cwd())}")
    if ignored := (_IGNORED_IN_TUNNEL if real else _IGNORED) & variables().keys():
        screen.print(f"            [yellow]not used here: {', '.join(sorted(ignored))}[/]")
    if is_public(listener):
        screen.print("            [yellow]other machines can reach this port[/]")
    for line in _next_with_number(session) if real else _next_with_phone(session):
        screen.print(line, soft_wrap=True)
    screen.print("Ctrl-C stops it.\n", style="dim")


def _next_with_phone(session: Session) -> tuple[str, ...]:
    hint = "" if session.port == 8000 else f" --port {session.port}"  # noqa: PLR2004 - the default
    return (
        "\nOpen the phone in a browser and write to the bot.",
        f"In another terminal:  [bold cyan]offhook text hello{hint}[/]",
    )


def _next_with_number(session: Session) -> tuple[str, ...]:
    connect = f"OFFHOOK_PUBLIC_URL={session.tunnel} offhook connect --number +15551230001"
    return (
        "\nConnect a number, again for each new URL of the tunnel, and write to it.",
        f"In another terminal:  [bold cyan]{connect}[/]",
    )
