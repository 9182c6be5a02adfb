"""`offhook text`: one message to a bot, as a person would send it."""

import asyncio
import re
import secrets
import uuid
from collections.abc import AsyncIterator, Iterable, Mapping
from typing import Annotated, Final
from urllib.parse import urlsplit

import httpx2
import typer
from rich.console import Console

from offhook.cli.options import JsonOption
from offhook.core.addresses import channel_of
from offhook.core.forms import Refusal
from offhook.core.lifecycle import State
from offhook.core.responses import Fault
from offhook.core.urls import MESSAGES_PATH
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
        "Sign with the bot's own TWILIO_AUTH_TOKEN, and write --url as its OFFHOOK_PUBLIC_URL has "
        "it: the bot's log says which URL it has checked."
    ),
    Fault.NOT_FOUND: f"Nothing answers at this path: messages go to {MESSAGES_PATH}.",
}
"""What to do about a refusal, by its name. The others are in docs/reference/errors.md."""


def command(
    body: Annotated[str, typer.Argument(help="What the person writes.")] = "",
    *,
    from_: Annotated[
        str, typer.Option("--from", metavar="NUMBER", help="Who writes.")
    ] = "+15551230001",
    to: Annotated[
        str | None, typer.Option(metavar="NUMBER", help="The number that is written to.")
    ] = None,
    channel: Annotated[Channel, typer.Option(help="How they write.")] = "sms",
    media: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="An attachment; may be repeated.")
    ] = None,
    param: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=VALUE", help="A parameter to add, or to change; may be repeated."
        ),
    ] = None,
    repeat: Annotated[
        int, typer.Option(min=1, max=1000, help="Deliver the same webhook so many times.")
    ] = 1,
    port: Annotated[
        int | None, typer.Option(help="Of the `offhook dev` that is meant, if several run.")
    ] = None,
    url: Annotated[
        str | None, typer.Option(help="Post to this webhook, signed with TWILIO_AUTH_TOKEN.")
    ] = None,
    timeout: Annotated[
        float, typer.Option(min=0.1, max=3600, help="Seconds to wait for the reply.")
    ] = 60.0,
    as_json: JsonOption = False,
) -> None:
    """Sends a message to a bot, as a person would.

    Without --url it goes through the simulated Twilio of a running `offhook dev`, and the reply is
    waited for. With --url it goes to any webhook, signed as Twilio signs; replies then go through
    the real Twilio and are not seen here.

    Exits 0 only if the bot answered and Twilio accepted each reply; with --url, if the webhook was
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
        raise typer.BadParameter("write something, or attach something with --media")
    order = SendTextRequest(
        body=body, from_=from_, to=to, channel=channel, media=tuple(media or ()),
        params=params, repeat=repeat, timeout=timeout,
    )  # fmt: skip
    steps = _through_dev(_session(port), order) if url is None else _to_url(url, order)
    answered = asyncio.run(_show(steps, as_json=as_json, waits=url is None))
    if not answered:
        raise typer.Exit(1)


async def _show(steps: AsyncIterator[TextEvent], *, as_json: bool, waits: bool) -> bool:
    """Print what happens; return whether the message was answered."""
    screen = console()
    seen: list[TextEvent] = []
    async for step in steps:
        seen.append(step)
        if as_json:
            print_json(as_object(step))
        else:
            show_step(screen, step)
    acknowledged = all(step.error is None for step in seen if isinstance(step, Acknowledged))
    if not (waits and acknowledged):
        return acknowledged and bool(seen)
    return _concludes(screen, seen, silent=as_json)


def _concludes(screen: Console, seen: list[TextEvent], *, silent: bool) -> bool:
    """Return whether a stored message was answered, and say what a reader would miss."""
    if not isinstance(seen[-1], Settled):
        if not silent:
            screen.print("no answer yet: it goes on; wait longer with --timeout", style="red")
        return False
    sent = [step for step in seen if isinstance(step, Replied)]
    if not sent and not silent:
        screen.print("no reply", style="yellow")
    replies = [step for step in sent if not step.is_notice]
    handled = seen[-1].state == State.DONE and bool(replies)
    return handled and all(reply.state == "sent" for reply in replies)


def show_step(screen: Console, step: TextEvent) -> None:
    """Print a step of a conversation on a line."""
    match step:
        case Acknowledged(error=None):
            again = "".join(f", {status}" for status in step.repeats)
            line = f"acknowledged  {step.status}{again} in {milliseconds(step.seconds)}"
            screen.print(line, style="green", markup=False)
        case Acknowledged():
            answer = f"HTTP {step.status} {step.reason}".rstrip() if step.status else "no answer"
            line = f"refused       {answer}, Twilio would log error {step.error}"
            screen.print(line, style="red", markup=False)
            if step.reason in _REMEDIES:
                screen.print(_REMEDIES[step.reason], style="red", markup=False, soft_wrap=True)
        case Replied(state="sent"):
            label = "notice" if step.is_notice else "reply"
            # Indented, so that no line of a reply can pass for one of ours.
            body = step.body.replace("\n", f"\n{'':<14}")
            screen.print(f"{label:<13} {body}", style="bold", markup=False, soft_wrap=True)
        case Replied():
            line = f"reply {step.state:<7} {step.error}"
            screen.print(line, style="red", markup=False, soft_wrap=True)
        case Failed():
            end = "is tried again" if step.again else "was the last"
            line = f"failed        attempt {step.attempt} {end}: {step.error}"
            screen.print(line, style="yellow", markup=False, soft_wrap=True)
        case Settled():
            screen.print(f"{step.state:<13} {in_words(step)}", style="dim", markup=False)


async def _through_dev(session: Session, order: SendTextRequest) -> AsyncIterator[TextEvent]:
    # The end of the wait is the server's to decide; this is for one that has hung up.
    patience = httpx2.Timeout(5.0, read=order.timeout + 30.0)
    try:
        async with (
            httpx2.AsyncClient(timeout=patience, trust_env=False) as client,
            client.stream(
                "POST",
                session.url + TEXTS,
                content=order.model_dump_json(),
                headers={TOKEN_HEADER: session.token},
            ) as response,
        ):
            if not response.is_success:
                await response.aread()
                raise ConfigurationError(f"offhook dev refuses: {response.text}")
            async for line in response.aiter_lines():
                yield from_line(line)
    except httpx2.HTTPError as error:
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
    """Return the webhook to post to: offhook's own where only a host is named.

    Raises:
        ConfigurationError: it is no URL.
    """
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise ConfigurationError(f"--url {url}: write it like https://bot.example.com")
    if parts.path in {"", "/"}:
        return parts._replace(path=MESSAGES_PATH).geturl()
    return url


def _session(port: int | None) -> Session:
    """Return the running `offhook dev` that is meant.

    Raises:
        ConfigurationError: there is none, or more than one.
    """
    found = [session for session in running() if port in {None, session.port}]
    match found:
        case [session]:
            return session
        case []:
            where = "" if port is None else f" on port {port}"
            raise ConfigurationError(
                f"no offhook dev is running{where}: start one with `offhook dev bot:app`, "
                "or `offhook demo`; or post to a webhook with --url"
            )
        case _:
            ports = ", ".join(str(session.port) for session in found)
            raise ConfigurationError(f"several run, on ports {ports}: choose one with --port")
