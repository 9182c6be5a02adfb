"""`offhook connect`: show which webhook Twilio calls, and set it."""

import asyncio
import sys
from collections.abc import Sequence
from typing import Annotated, Final

import typer

from offhook.cli.connect_view import SANDBOX, SENDERS, details, row, shown
from offhook.cli.options import JsonOption, SettingsOfAppArgument
from offhook.core.addresses import channel_of
from offhook.doctor import Severity
from offhook.doctor.configuration import public_url
from offhook.errors import TwilioError
from offhook.process.machine import app_named
from offhook.settings import Settings
from offhook.terminal import complain, console, print_json
from offhook.twilio.client import TwilioClient
from offhook.twilio.webhook_config import DesiredConfig, WebhookTarget, address_of, differences
from offhook.twilio.webhook_targets import WebhookTargets
from offhook.twilio.webhook_urls import status_url, webhook_url

_PROMPT: Final = "Set this at Twilio?"


def command(
    app: SettingsOfAppArgument = None,
    *,
    number: Annotated[
        str,
        typer.Option(metavar="NUMBER", help="A number as +15551230001, or whatsapp:+15551230001."),
    ] = "",
    service: Annotated[str, typer.Option(metavar="SID", help="A Messaging Service's SID.")] = "",
    apply: Annotated[
        bool, typer.Option("--apply", help="Set what differs, without asking.")
    ] = False,
    fallback: Annotated[
        str,
        typer.Option(
            metavar="URL",
            help="URL that Twilio calls when the webhook has failed. By default the present one "
            "is kept; where there is none, the webhook itself is used.",
        ),
    ] = "",
    statuses: Annotated[
        bool,
        typer.Option(
            "--statuses",
            help="Also set the status callback of a service or WhatsApp sender, for messages that "
            "other programs send. Replies of offhook carry their own.",
        ),
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show which webhook Twilio calls, and set it.

    Without --number or --service, list the account's numbers, Messaging Services and WhatsApp
    senders. With one of them, show what is set and what differs; on a terminal, ask whether to
    set it. Nothing is changed without --apply or a confirmation.

    The expected webhook is OFFHOOK_PUBLIC_URL with /twilio/messages, by POST, with the connection
    overrides #rc=5&rp=5xx,ct,rt, which make Twilio retry instead of dropping the message.

    Exit codes: 0 the webhook is as expected (and after a list), 1 it differs or could not be set,
    2 wrong usage.

    [bold]Needs[/] TWILIO_ACCOUNT_SID, TWILIO_AUTH_TOKEN (or an API key) and OFFHOOK_PUBLIC_URL,
    in the environment or in .env.

    [bold]Examples[/]
      offhook connect
      offhook connect --number +15551230001
      offhook connect --number +15551230001 --apply
      offhook connect --service MG0123456789abcdef0123456789abcdef --json
    """
    if number and service:
        raise typer.BadParameter("give --number or --service, not both")
    if apply and not (number or service):
        raise typer.BadParameter("--apply needs --number or --service")
    if service and not service.startswith("MG"):
        raise typer.BadParameter("a Messaging Service's SID begins with MG")
    settings = Settings.load() if app is None else app_named(app).load().settings
    settings.require("account_sid", "api_key" if settings.api_key else "auth_token", "public_url")
    wanted = DesiredConfig(
        webhook_url(settings),
        fallback,
        status_url(settings) if statuses else "",
    )
    if not (number or service):
        asyncio.run(_list(settings, wanted, as_json=as_json))
        return
    asked = not apply and not as_json and sys.stdin.isatty() and sys.stdout.isatty()
    connection = _Connection(settings, wanted, as_json=as_json)
    found = asyncio.run(connection.look(number, service))
    # Asked between two event loops: Ctrl-C at a prompt within one would wait for its thread.
    if not connection.right(found) and not found.decided_by:
        connection.warn()
        if apply or (asked and typer.confirm(_PROMPT)):
            found = asyncio.run(connection.change(found))
    if not connection.right(found):
        raise typer.Exit(1)


async def _list(settings: Settings, wanted: DesiredConfig, *, as_json: bool) -> None:
    async with TwilioClient(settings) as rest:
        receivers = WebhookTargets(rest)
        found = [*await receivers.numbers(), *await receivers.services()]
        try:
            found += await receivers.senders()
        except TwilioError as error:
            # The API is in beta, and not open to all accounts.
            words = SENDERS.format(url=wanted.url)
            complain(f"WhatsApp senders are not listed: {error} {words}")
    if as_json:
        for receiver in found:
            print_json(shown(receiver, wanted))
        return
    screen = console()
    screen.print(f"Expected: {wanted.url}", style="dim", soft_wrap=True, markup=False)
    for receiver in found:
        screen.print(row(receiver, wanted), soft_wrap=True)
    if not found:
        screen.print("The account has no number, no Messaging Service and no WhatsApp sender.")
    screen.print(SANDBOX.format(url=wanted.url), style="dim", soft_wrap=True)


class _Connection:
    """Show the configuration of one receiver, and change it."""

    def __init__(self, settings: Settings, wanted: DesiredConfig, *, as_json: bool) -> None:
        self._settings = settings
        self._wanted = wanted
        self._as_json = as_json

    async def look(self, number: str, service: str) -> WebhookTarget:
        """Return the present configuration, and show it."""
        async with TwilioClient(self._settings) as rest:
            found = await self._found(WebhookTargets(rest), address_of(number), service)
        self._show(found)
        return found

    async def change(self, receiver: WebhookTarget) -> WebhookTarget:
        """Set what differs; return the resulting configuration, and show it."""
        async with TwilioClient(self._settings) as rest:
            found = differences(receiver, self._wanted)
            changed = await WebhookTargets(rest).change(receiver, found)
        self._show(changed, changed=True)
        return changed

    def right(self, receiver: WebhookTarget) -> bool:
        """Return whether a receiver is configured as expected."""
        return not receiver.decided_by and not differences(receiver, self._wanted)

    def warn(self) -> None:
        """Print the problems of the public URL before it is set at Twilio."""
        for finding in asyncio.run(public_url(self._settings)):
            if finding.severity is not Severity.OK:
                complain(f"{finding.text}. {finding.remedy}")

    async def _found(self, receivers: WebhookTargets, number: str, service: str) -> WebhookTarget:
        if not number:
            return await receivers.service(service)
        try:
            return await receivers.number(number)
        except TwilioError as error:
            if channel_of(number) != "whatsapp":
                raise
            words = SENDERS.format(url=self._wanted.url)
            raise TwilioError(f"{error}. {words}", code=error.code) from error

    def _show(self, receiver: WebhookTarget, *, changed: bool = False) -> None:
        if self._as_json:
            print_json({**shown(receiver, self._wanted), "changed": changed})
            return
        screen = console()
        if changed:
            screen.print("Set. Twilio now has:", style="green")
        _print(details(receiver, self._wanted))


def _print(lines: Sequence[object]) -> None:
    screen = console()
    for line in lines:
        screen.print(line, soft_wrap=True)
