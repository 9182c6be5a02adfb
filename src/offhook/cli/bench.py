"""`offhook bench`: load a server with signed webhooks, and time its answers."""

import asyncio
from pathlib import Path
from typing import Annotated, Final

import typer
from rich.console import Console
from rich.live import Live
from rich.text import Text

from offhook.bench.plot import latencies
from offhook.bench.requests import Mix
from offhook.bench.run import BenchOptions, BenchRun
from offhook.bench.target import Target, allow_open_files
from offhook.cli.bench_view import announce, live, show
from offhook.cli.options import JsonOption, parsed
from offhook.core.values import between, integer
from offhook.dev.session import Session, running
from offhook.errors import ConfigurationError
from offhook.process.event_loop import on_signals, run_loop
from offhook.settings import Settings
from offhook.terminal import INTERRUPTED, console, print_json

_REAL_TWILIO: Final = "https://api.twilio.com"
_REDRAWN: Final = 0.25  # seconds

_PERCENT: Final = parsed(between(0, 100))


def command(
    url: Annotated[
        str,
        typer.Argument(metavar="[URL]", help="URL of the server; by default the one running here."),
    ] = "",
    *,
    seconds: Annotated[
        float,
        typer.Option(
            parser=parsed(between(0.1, 86_400)), metavar="SECONDS", help="Duration of each loop."
        ),
    ] = 10.0,
    rate: Annotated[
        float | None,
        typer.Option(
            parser=parsed(between(0.1, 1_000_000)),
            metavar="N",
            help="Requests a second; by default half of the maximum.",
        ),
    ] = None,
    closed: Annotated[bool, typer.Option("--closed", help="Only find the maximum.")] = False,
    connections: Annotated[
        int,
        typer.Option(parser=parsed(integer(1, 100_000)), metavar="N", help="Concurrent requests."),
    ] = 64,
    fresh_connections: Annotated[
        bool, typer.Option("--fresh-connections", help="A new connection for each request.")
    ] = False,
    conversations: Annotated[
        int,
        typer.Option(
            parser=parsed(integer(1, 9_999_999)),
            metavar="N",
            help="Number of people who write, in turn.",
        ),
    ] = 1000,
    repeats: Annotated[
        float, typer.Option(parser=_PERCENT, metavar="N", help="Percent that are repeats.")
    ] = 0,
    forged: Annotated[
        float, typer.Option(parser=_PERCENT, metavar="N", help="Percent with a wrong signature.")
    ] = 0,
    media: Annotated[
        float, typer.Option(parser=_PERCENT, metavar="N", help="Percent with a picture.")
    ] = 0,
    statuses: Annotated[
        float,
        typer.Option(parser=_PERCENT, metavar="N", help="Percent that are delivery statuses."),
    ] = 0,
    warm_up: Annotated[
        float,
        typer.Option(
            parser=parsed(between(0, 3600)),
            metavar="SECONDS",
            help="Seconds before measuring starts.",
        ),
    ] = 2.0,
    ceiling: Annotated[
        bool, typer.Option(help="First measure the maximum of the load generator itself.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write a plot of the latencies, as SVG.")
    ] = None,
    as_json: JsonOption = False,
    mine: Annotated[
        bool,
        typer.Option(
            "--yes-this-is-mine", help="Load another machine's server, or the real Twilio."
        ),
    ] = False,
) -> None:
    """Load a running server, and time its answers.

    Sends signed webhooks, first as fast as the answers come, to find the maximum; then at half of
    that rate, timing each request from when it was due, so that stalls of the server are counted.
    Every message is stored, and the bot's handlers run. Exits 1 if an answer was not as expected.
    Ctrl-C prints the measurements so far.

    [bold]Needs[/] a running `offhook dev`, or the settings of the server: TWILIO_ACCOUNT_SID,
    TWILIO_AUTH_TOKEN and OFFHOOK_PUBLIC_URL, in the environment or in .env.

    [bold]Examples[/]
      offhook bench
      offhook bench --rate 500 --seconds 60 --repeats 1 --forged 1
      offhook bench http://127.0.0.1:8080 --plot latency.svg
    """
    if closed and rate is not None:
        raise typer.BadParameter("give --rate or --closed, not both")
    try:
        mix = Mix(media=media, statuses=statuses, repeats=repeats, forged=forged)
    except ValueError as error:
        raise typer.BadParameter(str(error)) from None
    target, account_sid, auth_token = _server(url, mine=mine)
    allow_open_files(connections)
    options = BenchOptions(
        target, account_sid, auth_token, mix, connections, conversations, fresh_connections,
        seconds, warm_up, rate, closed, ceiling,
    )  # fmt: skip
    run: BenchRun = run_loop(lambda: _run(options, silent=as_json))
    if as_json:
        print_json(run.as_object())
    else:
        show(console(), run)
    if plot is not None:
        _draw(run, plot)
    if run.interrupted:
        raise typer.Exit(INTERRUPTED)
    if not all(phase.results.good for phase in run.phases):
        raise typer.Exit(1)


async def _run(options: BenchOptions, *, silent: bool) -> BenchRun:
    stop = asyncio.Event()
    on_signals(stop.set)
    if not silent:
        announce(console(), options)
    run = BenchRun(options, stop)
    drawing = asyncio.create_task(_draw_progress(console(stderr=True), run))
    try:
        await run.run()
    except OSError as error:
        raise ConfigurationError(
            f"nothing answers at {options.target.url} ({error.strerror or type(error).__name__}): "
            "start it with `offhook dev bot:app` or `offhook run bot:app`"
        ) from error
    finally:
        drawing.cancel()
        await asyncio.wait({drawing})
    return run


async def _draw_progress(screen: Console, run: BenchRun) -> None:
    """Show the progress, if standard error is a terminal."""
    if not screen.is_terminal:
        return
    with Live(console=screen, transient=True, auto_refresh=False) as shown:
        while True:
            shown.update(Text(live(run), style="dim"), refresh=True)
            await asyncio.sleep(_REDRAWN)


def _server(url: str, *, mine: bool) -> tuple[Target, str, str]:
    """Return the server to load, and the account and token to sign with.

    Raises:
        ConfigurationError: the server or its credentials are not known, or it may be another's.
    """
    sessions = [one for one in running() if not one.tunnel]
    session = _session(url, sessions)
    if session is not None:
        credentials = session.credentials
        target = Target.parse(url or session.url, public_url=session.url)
        return target, credentials.account_sid, credentials.auth_token
    settings = Settings.load()
    if not (settings.account_sid and settings.auth_tokens):
        raise ConfigurationError(
            "requests can't be signed: set the server's TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN "
            "(in the environment or in .env), or start `offhook dev bot:app`, which needs neither"
        )
    local = settings.host if settings.host not in {"0.0.0.0", "::"} else "127.0.0.1"  # noqa: S104
    here = f"http://[{local}]" if ":" in local else f"http://{local}"
    public = "" if url and not Target.parse(url).is_local else settings.public_url
    target = Target.parse(url or f"{here}:{settings.port}", public_url=public)
    if not mine:
        _refuse_what_may_be_anothers(target, settings)
    return target, settings.account_sid, settings.auth_tokens[0]


def _session(url: str, sessions: list[Session]) -> Session | None:
    """Return the `offhook dev` to load, if `url` is empty or names one."""
    if not url:
        if len(sessions) > 1:
            ports = ", ".join(session.url for session in sessions)
            raise ConfigurationError(f"several are running: choose one of {ports}")
        return sessions[0] if sessions else None
    target = Target.parse(url)
    return next((s for s in sessions if target.is_local and s.port == target.port), None)


def _refuse_what_may_be_anothers(target: Target, settings: Settings) -> None:
    if not target.is_local:
        raise ConfigurationError(
            f"{target.host} is not this machine, and would be loaded with all that this one can "
            "send: if it is yours, add --yes-this-is-mine"
        )
    if settings.twilio_api == _REAL_TWILIO:
        raise ConfigurationError(
            "the bot's handlers would reply through the real Twilio to numbers that do not exist: "
            "start it with OFFHOOK_TWILIO_API=http://127.0.0.1:9 and say so here too, load an "
            "`offhook dev`, or add --yes-this-is-mine if the bot does not reply"
        )


def _draw(run: BenchRun, file: Path) -> None:
    series = {phase.name: phase.results.all_times() for phase in run.phases}
    try:
        file.write_text(latencies(f"Latency of {run.options.target.url}", series), "utf-8")
    except OSError as error:
        raise ConfigurationError(f"{file} can't be written: {error.strerror}") from error
