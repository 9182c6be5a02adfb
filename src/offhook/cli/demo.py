"""`offhook demo`: a first conversation, without an account or a bot of your own."""

import asyncio
import socket
import tempfile
import time
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.text import Text

from offhook.cli.demo_script import Scene, failed_checks, scenes
from offhook.cli.options import parse_port
from offhook.concurrency import done_before
from offhook.dev.control import TextSender
from offhook.dev.conversation import Acknowledged, Failed, Replied, Settled, TextEvent, in_words
from offhook.dev.demo_bot import app
from offhook.dev.server import configure, dev_server
from offhook.dev.session import Session, announced
from offhook.dev.transcript import Transcript
from offhook.errors import ConfigurationError
from offhook.process.event_loop import on_signals, run_loop
from offhook.process.log_setup import configure_for_development, mute
from offhook.process.sockets import listen, url_of
from offhook.settings import Settings
from offhook.terminal import INTERRUPTED, console, milliseconds

_PORT = 8000
_SLOW_AFTER = 1.0  # seconds; the default of 10 would make a long demo


def command(
    *,
    once: Annotated[
        bool, typer.Option("--once", help="Stop after the conversation; exit 1 if a check failed.")
    ] = False,
    port: Annotated[
        int | None,
        typer.Option(
            parser=parse_port,
            metavar="PORT",
            help="Port to listen on; by default 8000, or any free port.",
        ),
    ] = None,
) -> None:
    """Show a conversation with the example bot.

    The bot, its worker and a simulated Twilio run in this process, with a temporary store. They
    keep running afterwards, so that you can send messages yourself.

    [bold]Examples[/]
      offhook demo
      offhook demo --once
    """
    with (
        tempfile.TemporaryDirectory(prefix="offhook-demo-") as directory,
        _listen(0 if once and port is None else port) as listener,
    ):
        session = Session.begin(url_of(listener))
        configure(app, session, **_settings(Path(directory)))
        with nullcontext() if once else announced(session):
            status = run_loop(lambda: _play(listener, session, once=once))
    raise typer.Exit(status)


async def _play(listener: socket.socket, session: Session, *, once: bool) -> int:
    """Run the conversation; return the exit status, 0 if every check passed."""
    screen = console()
    stop = asyncio.Event()
    on_signals(stop.set)
    mute()  # some handlers fail on purpose
    async with dev_server(app, listener, session) as server:
        screen.print("\n[bold]offhook demo[/]  a bot, its worker and a simulated Twilio\n")
        playing = asyncio.create_task(_play_all(screen, server.texts))
        if not await done_before(stop, playing):
            playing.cancel()
            return INTERRUPTED
        kept = playing.result()
        if not once:
            configure_for_development(app.settings)
            _invite(screen, session)
            with server.simulator.listening(Transcript(screen)):
                await server.run_until(stop)
    return 0 if kept else 1


async def _play_all(screen: Console, desk: TextSender) -> bool:
    started = time.perf_counter()
    problems = []
    for number, scene in enumerate(scenes(app.settings), start=1):
        screen.print(Text.assemble((f"{number}  ", "bold cyan"), (scene.title, "bold")))
        found = failed_checks(scene, await _play_one(screen, desk, scene))
        for problem in found:
            screen.print(f"   failed: {problem}", style="bold red", markup=False)
        problems += found
        screen.print()
    took = f"{time.perf_counter() - started:.1f} s"
    if problems:
        failed = "1 check" if len(problems) == 1 else f"{len(problems)} checks"
        screen.print(f"{failed} failed", style="bold red")
    else:
        screen.print(f"All checks passed, in {took}.", style="bold green")
    return not problems


async def _play_one(screen: Console, desk: TextSender, scene: Scene) -> list[TextEvent]:
    _line(screen, "person", scene.order.body)
    steps = []
    started = time.perf_counter()
    async for step in desk.text(scene.order):
        steps.append(step)
        _show(screen, step, time.perf_counter() - started)
    return steps


def _show(screen: Console, step: TextEvent, elapsed: float) -> None:
    match step:
        case Acknowledged(error=None):
            times = f", {1 + len(step.repeats)} times" if step.repeats else ""
            _line(screen, "", f"acknowledged in {milliseconds(step.seconds)}{times}", style="green")
        case Acknowledged():
            _line(screen, "", f"refused: HTTP {step.status}, error {step.error}", style="red")
        case Replied():
            _line(screen, "notice" if step.is_notice else "bot", step.body, _after(elapsed))
        case Failed():
            end = "will retry" if step.again else "that was the last attempt"
            _line(screen, "", f"attempt {step.attempt} failed, {end}", step.error, style="yellow")
        case Settled():
            _line(screen, "", in_words(step), style="dim")


def _line(screen: Console, who: str, text: str, end: str = "", *, style: str = "default") -> None:
    line = Text.assemble((f"   {who:>6}  ", "cyan"), (text, style), (f"   {end}", "dim"))
    line.rstrip()
    screen.print(line, soft_wrap=True)


def _after(seconds: float) -> str:
    return f"after {seconds:.1f} s" if seconds >= 1 else f"after {milliseconds(seconds)}"


def _invite(screen: Console, session: Session) -> None:
    screen.print("\nThe bot keeps running. Open its phone in a browser:\n")
    screen.print(f"  [bold cyan]{session.phone}[/]\n", soft_wrap=True)
    screen.print("and the dashboard:\n")
    screen.print(f"  [bold cyan]{session.dashboard}[/]\n", soft_wrap=True)
    screen.print("or type in another terminal:\n")
    screen.print("  [bold cyan]offhook text hello[/]")
    screen.print('  [bold cyan]offhook text "please think"[/]\n')
    screen.print(f"Its webhook is {session.webhook}. Ctrl-C stops it.\n", style="dim")


def _listen(port: int | None) -> socket.socket:
    if port is not None:
        return listen("127.0.0.1", port)
    try:
        return listen("127.0.0.1", _PORT)
    except ConfigurationError:
        return listen("127.0.0.1", 0)  # `offhook text` finds the port itself


def _settings(directory: Path) -> dict[str, Any]:
    """Return all settings of the demo, so that the environment and `.env` do not affect it."""
    changed = {"store": f"sqlite:///{directory / 'demo.db'}", "slow_notice_after": _SLOW_AFTER}
    return {**Settings.defaults(), **changed}
