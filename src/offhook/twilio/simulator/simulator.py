"""The simulated Twilio: inbound messages, the REST API, status callbacks, and faults."""

import random
import time
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager
from typing import Literal, Self

from starlette.types import ASGIApp

from offhook.core.addresses import channel_of
from offhook.core.messages import Attachment, Button, Location
from offhook.core.urls import without_fragment
from offhook.errors import ConfigurationError
from offhook.twilio.made_up import MADE_UP, Credentials, made_up_credentials
from offhook.twilio.simulator.account import Account, Webhook
from offhook.twilio.simulator.connection_overrides import usable
from offhook.twilio.simulator.delivery import WebhookCall, WebhookClient, WebhookResponse
from offhook.twilio.simulator.faults import Trouble
from offhook.twilio.simulator.log import Delivered, Listener, Outbound, StatusCallback, Texted
from offhook.twilio.simulator.media import File, MediaStore
from offhook.twilio.simulator.messaging import Messaging
from offhook.twilio.simulator.payloads import Text, inbound, media_of
from offhook.twilio.simulator.resources import Resources
from offhook.twilio.simulator.rest_api import RestApi
from offhook.twilio.simulator.rest_errors import Authentication
from offhook.twilio.simulator.serving import serving
from offhook.twilio.simulator.twiml import TwimlResult, parse_twiml


class Simulator:
    """A simulated Twilio account with one number.

    Inbound messages are posted to the webhook like Twilio's: with the parameters and headers of
    captured requests, signed, with its timeouts and retries. The REST API, `rest`, accepts the
    replies and reports their statuses. Up to 10,000 messages are recorded.

    Use a simulator in one event loop only. `async with` closes it.

    Args:
        account_sid, auth_token: from `Simulator.credentials()`.
        secondary_auth_token: another made-up token: the REST API accepts it, and it signs nothing
            until `promote` is called.
        webhook_url: the full URL of the message webhook, with connection overrides in its fragment.
        fallback_url: requested after the webhook has failed.
        number: the account's number, for SMS and WhatsApp.
        messaging_service_sid: the Messaging Service that the number belongs to, if any.
        trouble: the faults to inject.
        status_delay: seconds between two statuses of a message.
        seed: makes SIDs and faults the same in every run.

    Attributes:
        rest: the REST API as an ASGI application, to mount at the root.
        account: the account's numbers, Messaging Services, WhatsApp senders and alerts.

    Raises:
        ConfigurationError: the credentials may be real ones, which the simulator refuses: anyone
            who reaches it can have requests signed.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        auth_token: str,
        secondary_auth_token: str = "",
        webhook_url: str = "",
        fallback_url: str = "",
        number: str = "+15005550006",
        messaging_service_sid: str = "",
        trouble: Trouble | None = None,
        status_delay: float = 0.02,
        seed: int | None = None,
    ) -> None:
        tokens = [token for token in (auth_token, secondary_auth_token) if token]
        if not (account_sid.startswith(f"AC{MADE_UP}") and all(map(_is_made_up, tokens))):
            raise ConfigurationError(
                "the simulator takes made-up credentials only: those of Simulator.credentials()"
            )
        self.number = number
        self.messaging_service_sid = messaging_service_sid
        self._webhooks = WebhookClient(auth_token)
        self._messaging = Messaging(
            account_sid=account_sid,
            numbers=[number],
            webhooks=self._webhooks,
            trouble=trouble or Trouble(),
            rng=random.Random(seed),  # noqa: S311 - nothing secret is drawn; a seed repeats a run
            status_delay=status_delay,
        )
        self.account = Account(account_sid, self._messaging.sid)
        self.account.add_number(number)
        if messaging_service_sid:
            self.account.add_service(messaging_service_sid, numbers=(number,))
        self.webhook_url, self.fallback_url = webhook_url, fallback_url
        self._auth = Authentication(account_sid, *tokens)
        self._media = MediaStore(self._auth, self._messaging.sid, lambda: self.trouble)
        others = [*Resources(self.account, self._auth).routes, *self._media.routes]
        self.rest: ASGIApp = RestApi(self._messaging, self._auth, others).app

    @staticmethod
    def credentials() -> Credentials:
        """Make up an account SID and an auth token."""
        return made_up_credentials()

    @property
    def webhook_url(self) -> str:
        """The URL of the message webhook, as set here or through the REST API."""
        return self.account.webhook(self.number, "sms").url

    @webhook_url.setter
    def webhook_url(self, url: str) -> None:
        self._set("sms_url", "inbound_request_url", url)

    @property
    def fallback_url(self) -> str:
        """The URL requested after the webhook has failed."""
        return self.account.webhook(self.number, "sms").fallback_url

    @fallback_url.setter
    def fallback_url(self, url: str) -> None:
        self._set("sms_fallback_url", "fallback_url", url)

    def add_api_key(self) -> tuple[str, str]:
        """Make an API key, which the REST API accepts; return its SID and its secret."""
        sid, secret = self._messaging.sid("SK"), made_up_credentials().auth_token
        self._auth.api_keys[sid] = secret
        return sid, secret

    def revoke_api_key(self, sid: str) -> None:
        """Have the REST API refuse an API key from now on."""
        del self._auth.api_keys[sid]

    def has_user(self, user: str) -> bool:
        """Return whether a user of the REST API is this account, or one of its API keys."""
        return user == self.account.sid or user in self._auth.api_keys

    def promote(self) -> None:
        """Replace the primary token with the secondary one, which signs from now on."""
        self._auth.tokens = self._auth.tokens[1:]
        self._webhooks.auth_token = self._auth.tokens[0]

    @property
    def trouble(self) -> Trouble:
        """The faults to inject; may be replaced at any time."""
        return self._messaging.trouble

    @trouble.setter
    def trouble(self, trouble: Trouble) -> None:
        self._messaging.trouble = trouble

    @property
    def sent(self) -> tuple[Outbound, ...]:
        """The messages sent to people, in the order they were accepted."""
        return self._messaging.history.outbound

    @property
    def delivered(self) -> tuple[Delivered, ...]:
        """The people's messages, in the order their webhooks were answered."""
        return self._messaging.history.delivered

    @property
    def callbacks(self) -> tuple[StatusCallback, ...]:
        """The status callbacks, in the order they were answered."""
        return self._messaging.history.callbacks

    @property
    def opted_out(self) -> frozenset[str]:
        """The people who have sent STOP, and no START since."""
        return frozenset(self._messaging.opted_out)

    async def text(
        self,
        body: str = "",
        *,
        from_: str = "+15551230001",
        to: str | None = None,
        channel: Literal["sms", "whatsapp", "rcs"] = "sms",
        media: Sequence[str | Attachment | File] = (),
        button: Button | None = None,
        location: Location | None = None,
        profile_name: str = "Ada",
        extra: Mapping[str, str] | None = None,
        duplicates: int | None = None,
    ) -> Delivered:
        """Send a message from a person; return the result of its webhook.

        A wholly STOP or START message opts the person out or in, before the webhook is posted.

        Args:
            body: the text.
            from_: the person's number, or another address: a short code, an alphanumeric sender,
                `whatsapp:ID.4566546130240000`, `rcs:...`.
            to: the number written to, by default the simulator's. The bot may then send from it.
            channel: `sms`, `whatsapp` or `rcs`; numbers without a channel are prefixed accordingly.
            media: files, which Twilio keeps; or URLs of your own, their types guessed, or
                `Attachment`.
            button: the button pressed; with WhatsApp only, as the two below.
            location: the location shared.
            profile_name: the person's profile name.
            extra: parameters to add or replace.
            duplicates: additional deliveries of this webhook; by default those of `trouble`.

        Raises:
            ConfigurationError: Twilio would not accept `webhook_url` or `fallback_url`.
        """
        by = channel_of(from_) if ":" in from_ else channel
        webhook = self._webhook(to or self.number, by)
        self._messaging.own(to or self.number)
        sid = self._messaging.sid("MM" if media else "SM")
        text = Text(
            sid=sid,
            account_sid=self._messaging.account_sid,
            from_=address(from_, by),
            to=address(to or self.number, by),
            body=body,
            media=tuple(self._attached(sid, one) for one in media),
            button=button,
            location=location,
            profile_name=profile_name,
            service=self.messaging_service_sid,
            extra=extra or {},
        )
        return await self._deliver(text, webhook, duplicates)

    def recall(self, texted: Texted) -> None:
        """Restore the effects of a message that an earlier simulator received."""
        self._messaging.own(texted.to)
        self._messaging.heed(dict(texted.params), texted.time)

    async def wait_for(
        self,
        wanted: Callable[[Outbound], bool] = lambda _: True,
        *,
        to: str = "",
        after: int = 0,
    ) -> Outbound:
        """Return the first matching message to a person, now or as soon as there is one.

        Each new status is checked too. Bound the wait with `asyncio.timeout`.

        Args:
            wanted: a further condition.
            to: the recipient.
            after: match messages with a greater `Outbound.number` only; see `Delivered.after`.
        """
        return await self._messaging.history.wait_for(
            lambda sent: sent.number > after and to in {"", sent.to} and wanted(sent)
        )

    def listening(self, listener: Listener) -> AbstractContextManager[None]:
        """Call a listener with each `Event`, and with an `Outbound` at each of its statuses.

        The listener is called on the event loop, within the returned context; it must be quick
        and must not raise. For an iterator, pass the `put_nowait` of an `asyncio.Queue`.
        """
        return self._messaging.history.listening(listener)

    @property
    def rest_url(self) -> str:
        """The base URL of the REST API, with which the URLs of files begin. `serve` sets it."""
        return self._media.base

    @rest_url.setter
    def rest_url(self, url: str) -> None:
        self._media.base = url

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> AbstractAsyncContextManager[str]:
        """Serve the REST API on its own socket; the context yields its base URL."""
        return self._served(host, port)

    @asynccontextmanager
    async def _served(self, host: str, port: int) -> AsyncIterator[str]:
        async with serving(self.rest, host=host, port=port) as url:
            self.rest_url = url
            yield url

    async def close(self) -> None:
        """Stop reporting statuses, and close the connections."""
        await self._messaging.close()
        await self._webhooks.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _attached(self, message_sid: str, given: str | Attachment | File) -> Attachment:
        match given:
            case str():
                return media_of(given)
            case File():
                return self._media.keep(message_sid, given)
            case _:
                return given

    def _set(self, of_number: str, of_service: str, url: str) -> None:
        record = self.account.number(self.number)
        if record is not None:
            record[of_number] = url
        if service := self.account.services.get(self.messaging_service_sid):
            service[of_service] = url

    def _webhook(self, number: str, channel: str) -> Webhook:
        """Return the webhook for a number; an unknown number gets the simulator's own."""
        own = Webhook(self.webhook_url, self.fallback_url)
        found = self.account.webhook(number, channel)
        known = self.account.number(number) is not None
        webhook = found if known else own
        if not usable(webhook.url):
            raise ConfigurationError(f"webhook_url cannot be posted to: {webhook.url!r}")
        if webhook.fallback_url and not usable(webhook.fallback_url):
            raise ConfigurationError(f"fallback_url cannot be posted to: {webhook.fallback_url!r}")
        return webhook

    async def _deliver(self, text: Text, webhook: Webhook, duplicates: int | None) -> Delivered:
        params = inbound(text)
        after = self._messaging.history.last_number
        now = time.time()
        self._messaging.heed(dict(params), now)
        self._messaging.history.record(Texted(text.sid, text.from_, text.to, params, time=now))
        call = WebhookCall(
            webhook.url, params, self._messaging.token(), fallback_url=webhook.fallback_url
        )
        answer, repeats = await self._messaging.deliver(call, duplicates=duplicates)
        reading = (
            parse_twiml(answer.content_type, answer.body) if answer.error is None else TwimlResult()
        )
        delivered = _delivered(text, answer, repeats, reading, after)
        if delivered.error is not None:
            self.account.alert(delivered.error, without_fragment(webhook.url), text.sid)
        self._messaging.history.record(delivered)
        for said in reading.said:
            self._messaging.say(said, to=text.from_, from_=text.to)
        return delivered


def _is_made_up(token: str) -> bool:
    return token.startswith(MADE_UP)


def address(number: str, channel: str) -> str:
    """Return a number as an address of a channel; an address is returned unchanged."""
    return number if channel == "sms" or ":" in number else f"{channel}:{number}"


def _delivered(
    text: Text,
    answer: WebhookResponse,
    repeats: Sequence[WebhookResponse],
    reading: TwimlResult,
    after: int,
) -> Delivered:
    return Delivered(
        sid=text.sid,
        from_=text.from_,
        to=text.to,
        body=text.body,
        media=tuple(text.media),
        status=answer.status,
        seconds=answer.seconds,
        attempts=answer.attempts,
        error=answer.error or reading.error,
        said=reading.said,
        repeats=tuple(repeat.status for repeat in repeats),
        after=after,
        requests=tuple(request for one in (answer, *repeats) for request in one.requests),
    )
