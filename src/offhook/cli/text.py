"""`offhook text`: send a message to a bot, as a person would."""

import asyncio
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated, Final, get_args
from urllib.parse import urlsplit

import typer
from aiohttp import ClientError
from rich.console import Console

from offhook.cli.options import JsonOption, choice, parse_port, parsed
from offhook.core.addresses import channel_of
from offhook.core.forms import Refusal
from offhook.core.lifecycle import State
from offhook.core.responses import Fault
from offhook.core.urls import MESSAGES_PATH
from offhook.core.values import between, integer
from offhook.dev.control import TEXTS, TOKEN_HEADER, Channel, SendTextRequest
from offhook.dev.conversation import (
    Acknowledged,
    Failed,
    Replied,
    Settled,
    TextEvent,
    as_object,
    from_line,
    in_words,
)
from offhook.dev.session import Session, running
from offhook.errors import ConfigurationError
from offhook.http_session import open_session, timeouts
from offhook.settings import Settings
from offhook.terminal import console, milliseconds, print_json
from offhook.twilio.simulator import WebhookCall, WebhookClient
from offhook.twilio.simulator.payloads import Text, inbound, media_of
from offhook.twilio.simulator.simulator import address

_PARAMETER: Final = re.compile("[A-Za-z0-9_]+")
_NUMBER: Final = "+15005550006"  # Twilio's magic number for tests: it reaches nobody
_ACCOUNT: Final = "AC" + "0" * 32

_REMEDIES: Final[Mapping[str, str]] = {
    Refusal.SIGNATURE_MISMATCH: (
        "Sign with the bot's own TWILIO_AUTH_TOKEN, and give --url exactly as in its "
        "OFFHOOK_PUBLIC_URL; the bot's log shows the URL it has validated."
    ),
    Fault.NOT_FOUND: f"Nothing answers at this path: messages go to {MESSAGES_PATH}.",
}
"""What to do about a refusal. docs/reference/errors.md has the others."""


def command(
    body: Annotated[str, typer.Argument(metavar="[TEXT]", help="The text of the message.")] = "",
    *,
    from_: Annotated[
        str, typer.Option("--from", metavar="NUMBER", help="The sender.")
    ] = "+15551230001",
    to: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="The recipient, a number of the bot.")
    ] = None,
    channel: Annotated[
        Channel,
        choice(get_args(Channel), "CHANNEL", "The channel of the message"),
    ] = "sms",
    media: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="An attachment; can be repeated.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME=VALUE", help="A parameter to add or change; can be repeated."),
    ] = None,
    repeat: Annotated[
        int,
        typer.Option(
            parser=parsed(integer(1, 1000)),
            metavar="N",
            help="Deliver the same webhook this many times.",
        ),
    ] = 1,
    port: Annotated[
        int | None,
        typer.Option(
            parser=parse_port,
            metavar="PORT",
            help="Port of the `offhook dev` to use, if several are running.",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(metavar="URL", help="Post to this webhook, signed with TWILIO_AUTH_TOKEN."),
    ] = None,
    timeout: Annotated[
        float,
        typer.Option(
            parser=parsed(between(0.1, 3600)),
            metavar="SECONDS",
            help="Seconds to wait for the reply.",
        ),
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Send a message to a bot, as a person would.

    Without --url, the message goes through the simulated Twilio of a running `offhook dev`, and
    the command waits for the reply. With --url it is posted to any webhook, signed as by Twilio;
    replies then go through the real Twilio and are not shown here.

    Exits 0 only if the bot replied and Twilio accepted each reply; with --url, if the webhook was
    accepted.

    [bold]Examples[/]
      offhook text hello
      offhook text "again and again" --repeat 3
      offhook text "look" --channel whatsapp --media https://example.com/cat.jpg
      offhook text yes --channel rcs --param ButtonPayload=confirm
      offhook text hi --from whatsapp:ID.4566546130240000
      offhook text hello --url https://bot.example.com
    """
    params = _params(param or ())
    if not (body or media or params):
        raise typer.BadParameter("give a text, or an attachment with --media")
    if url is not None and port is not None:
        raise typer.BadParameter("give --port or --url, not both")
    order = SendTextRequest(
        body=body, from_=from_, to=to, channel=channel, media=tuple(media or ()),
        params=params, repeat=repeat, timeout=timeout,
    )  # fmt: skip
    steps = _through_dev(_session(port), order) if url is None else _to_url(url, order)
    answered = asyncio.run(_show(steps, timeout if url is None else None, as_json=as_json))
    if not answered:
        raise typer.Exit(1)


async def _show(steps: AsyncIterator[TextEvent], wait: float | None, *, as_json: bool) -> bool:
    """Print the steps; return whether the message was answered."""
    screen = console()
    seen: list[TextEvent] = []
    async for step in steps:
        seen.append(step)
        if as_json:
            print_json(as_object(step))
        else:
            show_step(screen, step)
    acknowledged = all(step.error is None for step in seen if isinstance(step, Acknowledged))
    if wait is None or not acknowledged:
        return acknowledged and bool(seen)
    return _answered(screen, seen, wait, silent=as_json)


def _answered(screen: Console, seen: list[TextEvent], timeout: float, *, silent: bool) -> bool:
    """Return whether a stored message was answered; print why not."""
    if not isinstance(seen[-1], Settled):
        if not silent:
            screen.print(
                f"No reply after {timeout:g} s; the bot is still working. "
                "Raise --timeout to wait longer.",
                style="red",
            )
        return False
    sent = [step for step in seen if isinstance(step, Replied)]
    if not sent and not silent:
        screen.print("no reply", style="yellow")
    replies = [step for step in sent if not step.is_notice]
    handled = seen[-1].state == State.DONE and bool(replies)
    return handled and all(reply.state == "sent" for reply in replies)


def show_step(screen: Console, step: TextEvent) -> None:
    """Print a step of a conversation."""
    match step:
        case Acknowledged(error=None):
            again = "".join(f", {status}" for status in step.repeats)
            line = f"acknowledged  {step.status}{again} in {milliseconds(step.seconds)}"
            screen.print(line, style="green", markup=False)
        case Acknowledged():
            answer = f"HTTP {step.status} {step.reason}".rstrip() if step.status else "no answer"
            line = f"refused       {answer}; Twilio would log error {step.error}"
            screen.print(line, style="red", markup=False)
            if step.reason in _REMEDIES:
                screen.print(_REMEDIES[step.reason], style="red", markup=False, soft_wrap=True)
        case Replied(state="sent"):
            label = "notice" if step.is_notice else "reply"
            # Indented, so that no line of a reply looks like output of the command.
            body = step.body.replace("\n", f"\n{'':<14}")
            screen.print(f"{label:<13} {body}", style="bold", markup=False, soft_wrap=True)
        case Replied():
            line = f"reply {step.state:<7} {step.error}"
            screen.print(line, style="red", markup=False, soft_wrap=True)
        case Failed():
            end = "will retry" if step.again else "was the last"
            line = f"failed        attempt {step.attempt}, {end}: {step.error}"
            screen.print(line, style="yellow", markup=False, soft_wrap=True)
        case Settled():
            screen.print(f"{step.state:<13} {in_words(step)}", style="dim", markup=False)


async def _through_dev(session: Session, order: SendTextRequest) -> AsyncIterator[TextEvent]:
    # The server ends the wait; the client's timeout is for a server that hangs.
    timeout = timeouts(connect=5.0, read=order.timeout + 30.0)
    try:
        async with (
            open_session(timeout) as dev,
            dev.post(
                session.url + TEXTS,
                data=order.model_dump_json(),
                headers={TOKEN_HEADER: session.token},
            ) as response,
        ):
            if not response.ok:
                text = await response.text()
                raise ConfigurationError(f"offhook dev refused the message: {text}")
            async for line in response.content:
                yield from_line(line.decode())
    except (ClientError, TimeoutError) as error:
        raise ConfigurationError(
            f"the offhook dev at {session.url} does not answer ({type(error).__name__}): "
            "look at its terminal"
        ) from error


async def _to_url(url: str, order: SendTextRequest) -> AsyncIterator[TextEvent]:
    webhook = _webhook(url)
    settings = Settings.load()
    settings.require("auth_token")
    by = channel_of(order.from_) if ":" in order.from_ else order.channel
    text = Text(
        sid=("MM" if order.media else "SM") + secrets.token_hex(16),
        account_sid=settings.account_sid or _ACCOUNT,
        from_=address(order.from_, by),
        to=address(order.to or _NUMBER, by),
        body=order.body,
        media=tuple(media_of(one) for one in order.media),
        extra=order.params,
    )
    call = WebhookCall(webhook, inbound(text), str(uuid.uuid4()))
    line = WebhookClient(settings.auth_tokens[0])
    try:
        for _ in range(order.repeat):
            answer = await line.request(call)
            yield Acknowledged(
                text.sid, answer.status, answer.seconds, error=answer.error, reason=answer.reason
            )
    finally:
        await line.close()


def _params(given: Iterable[str]) -> dict[str, str]:
    """Return parameters as they are written on the command line: `NAME=VALUE`."""
    params = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not (equals and _PARAMETER.fullmatch(name)):
            raise typer.BadParameter(f"{text!r}: write --param NAME=VALUE")
        params[name] = value
    return params


def _webhook(url: str) -> str:
    """Return the webhook to post to; `/twilio/messages` if the URL has no path.

    Raises:
        typer.BadParameter: it is not a URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise typer.BadParameter(f"--url {url}: write it like https://bot.example.com")
    if parts.path in {"", "/"}:
        return parts._replace(path=MESSAGES_PATH).geturl()
    return url


def _session(port: int | None) -> Session:
    """Return the running `offhook dev`.

    Raises:
        ConfigurationError: none is running, or several are.
    """
    simulated = [session for session in running() if not session.tunnel]
    found = [session for session in simulated if port in {None, session.port}]
    match found:
        case [session]:
            return session
        case []:
            where = "" if port is None else f" on port {port}"
            raise ConfigurationError(
                f"no offhook dev is running{where}: start one with `offhook dev bot:app` or "
                "`offhook demo`, or post to a webhook with --url"
            )
        case _:
            ports = ", ".join(str(session.port) for session in found)
            raise ConfigurationError(
                f"several are running, on ports {ports}: choose one with --port"
            )
