"""`offhook send`: send a message that answers none."""

import asyncio
import json
import time
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final

import typer

from offhook.cli.options import JsonOption, StoreOption, parse_delay
from offhook.cli.stores import existing, settings_beside_dev
from offhook.core.lifecycle import SendState
from offhook.core.messages import Reply, Send, Template
from offhook.dev.session import ACCOUNT_SID
from offhook.dev.store import FOLDER
from offhook.errors import InvalidReply, InvalidSend
from offhook.events import Event, Problem
from offhook.observe.redaction import mask, printable
from offhook.settings import Settings
from offhook.terminal import complain, console, local_time, print_json, until, when
from offhook.worker.send_requests import RequestWriter, delay_of

_PASSED: Final = 60.0
"""Seconds: a time without seconds may be the present minute."""


def command(
    to: Annotated[str, typer.Argument(metavar="NUMBER", help="The recipient.")],
    body: Annotated[str, typer.Argument(metavar="[TEXT]", help="The text of the message.")] = "",
    *,
    media: Annotated[
        list[str] | None, typer.Option(metavar="URL", help="An attachment; can be repeated.")
    ] = None,
    content_sid: Annotated[
        str, typer.Option(metavar="SID", help="A content template instead of a text.")
    ] = "",
    fallback: Annotated[
        str,
        typer.Option(
            metavar="SID", help="The template if WhatsApp's 24-hour window is closed then."
        ),
    ] = "",
    fallback_variables: Annotated[
        str, typer.Option(metavar="JSON", help='The variables of --fallback: \'{"1": "Ada"}\'.')
    ] = "",
    key: Annotated[
        str | None,
        typer.Option(metavar="KEY", help="Send nothing if a message had this key before."),
    ] = None,
    at: Annotated[
        float,
        typer.Option(
            parser=parse_delay, metavar="TIME", help="When: in 10m, 2h, 3d, or 2026-11-24T12:00."
        ),
    ] = 0.0,
    from_: Annotated[
        str,
        typer.Option("--from", metavar="NUMBER", help="The sender, or a Messaging Service SID."),
    ] = "",
    unless_reply: Annotated[
        bool, typer.Option("--unless-reply", help="Not if the person writes first.")
    ] = False,
    account: Annotated[
        str,
        typer.Option(
            metavar="SID", help="The account that sends it, instead of TWILIO_ACCOUNT_SID."
        ),
    ] = "",
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Send a message that answers none, now or later.

    Later is up to a year ahead. The message is written to the store, and a running worker sends it.
    Without --from, it comes from OFFHOOK_SENDER, or else (with --account, always) from the number
    that the person last wrote to.

    [bold]Examples[/]
      offhook send +15551230001 "Your order has been shipped."
      offhook send +15551230001 "At 10!" --at 2026-11-24T18:00 --key visit-42
      offhook send +15551230001 "Are you still there?" --at 2h --unless-reply
      offhook send whatsapp:+15551230001 "See you!" --at 2d --fallback HX0123...
    """
    if at < -_PASSED:
        raise typer.BadParameter("this time has passed: leave it out to send at once")
    try:
        delay = delay_of(timedelta(seconds=at), datetime.now(UTC))
        reply = Reply(
            body,
            media=media or (),
            content_sid=content_sid,
            fallback=_template(fallback, fallback_variables),
        )
        send = asyncio.run(
            _send(
                _settings(store),
                to,
                reply,
                key=key,
                delay=delay,
                from_=from_,
                unless_reply=unless_reply,
                account=account,
            )
        )
    except (InvalidReply, InvalidSend) as error:
        raise typer.BadParameter(str(error)) from error
    due = time.time() + delay if send.state is SendState.SCHEDULED and not send.repeated else None
    if as_json:
        print_json(
            {
                "id": send.id,
                "state": send.state,
                "to": mask(send.to),
                "key": key,
                "due": when(due),
                "repeated": send.repeated,
            }
        )
    else:
        console().print(printable(_in_words(send, due)), markup=False, soft_wrap=True)


def _template(sid: str, variables: str) -> Template | None:
    """Return the template that options name."""
    if not sid and not variables:
        return None
    try:
        return Template(sid, json.loads(variables or "{}"))
    except ValueError as error:
        raise typer.BadParameter(f"--fallback-variables is no JSON: {error}") from error


def _settings(store: str | None) -> Settings:
    settings = settings_beside_dev(store)
    file = settings.store_file
    if file is not None and file.parent.name == FOLDER:  # its worker has a simulated account
        return settings.replace(account_sid=ACCOUNT_SID, sender="")
    settings.require("account_sid")
    return settings


async def _send(settings: Settings, to: str, reply: Reply, **options: Any) -> Send:
    async with existing(settings) as store:
        return await RequestWriter(store, settings, _complain_of).write(to, reply, **options)


def _complain_of(event: Event) -> None:
    if isinstance(event, Problem):
        complain(event.text)


def _in_words(send: Send, due: float | None) -> str:
    what = f"send {send.id} to {mask(send.to)}"
    if send.repeated:
        return f"{what}: written before under this key, {send.state}"
    if due is None:
        return f"{what}: {send.state}; a worker sends it"
    return f"{what}: scheduled for {local_time(due)} ({until(due)})"
