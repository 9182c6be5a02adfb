"""A Twilio on your own machine: people who text, a REST API, status callbacks, and trouble."""

import random
import secrets
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from typing import Final, Literal, NamedTuple, Self

from starlette.types import ASGIApp

from offhook.core.addresses import channel_of
from offhook.core.messages import Button, Location, Media
from offhook.core.urls import without_fragment
from offhook.errors import ConfigurationError
from offhook.twilio.simulator.account import Account, Webhook
from offhook.twilio.simulator.connection_overrides import usable
from offhook.twilio.simulator.delivery import WebhookCall, WebhookClient, WebhookResponse
from offhook.twilio.simulator.faults import Trouble
from offhook.twilio.simulator.log import Delivered, Listener, Outbound, StatusCallback, Texted
from offhook.twilio.simulator.messaging import Messaging
from offhook.twilio.simulator.payloads import Text, inbound, media_of
from offhook.twilio.simulator.resources import Resources
from offhook.twilio.simulator.rest_api import RestApi
from offhook.twilio.simulator.rest_errors import Authentication
from offhook.twilio.simulator.serving import serving
from offhook.twilio.simulator.twiml import TwimlResult, parse_twiml

# Made-up credentials begin with this, so that they can be told from real ones: by chance, one
# account in 4 billion would.
_MADE_UP: Final = "0" * 8


class Credentials(NamedTuple):
    """An account that only simulators know."""

    account_sid: str
    auth_token: str


class Simulator:
    """A simulated Twilio account with one number.

    People's messages are posted to the webhook as Twilio posts them: captured parameters and
    headers, signed, with its timeouts and retries. The REST API, `rest`, takes the replies and
    reports their statuses. All of it is remembered, up to 10,000 messages.

    One simulator serves one event loop. `async with` closes it.

    Args:
        account_sid, auth_token: from `Simulator.credentials()`.
        secondary_auth_token: another token, made there too: it opens the REST API, and signs
            nothing until `promote` is called.
        webhook_url: where messages are posted, in full, with connection overrides in its fragment.
        fallback_url: asked when the webhook has failed.
        number: the account's number, for SMS and WhatsApp.
        messaging_service_sid: sent with inbound SMS when the number belongs to one.
        trouble: how it misbehaves.
        status_delay: seconds between two statuses of a message.
        seed: makes SIDs and trouble the same in every run.

    Attributes:
        rest: the REST API as an ASGI application, to be mounted at the root.
        account: the numbers, Messaging Services, WhatsApp senders and alerts that it shows.

    Raises:
        ConfigurationError: the credentials may be real ones. Whoever reaches the simulator can
            have anything signed; real credentials have no place in it.
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
        if not (account_sid.startswith(f"AC{_MADE_UP}") and all(map(_is_made_up, tokens))):
            raise ConfigurationError(
                "the simulator takes made-up credentials only: those of Simulator.credentials()"
            )
        self.number = number
        self.messaging_service_sid = messaging_service_sid
        self._line = WebhookClient(auth_token)
        self._exchange = Messaging(
            account_sid=account_sid,
            numbers=[number],
            line=self._line,
            trouble=trouble or Trouble(),
            rng=random.Random(seed),  # noqa: S311 - nothing secret is drawn; a seed repeats a run
            status_delay=status_delay,
        )
        self.account = Account(account_sid, self._exchange.sid)
        self.account.add_number(number)
        if messaging_service_sid:
            self.account.add_service(messaging_service_sid, numbers=(number,))
        self.webhook_url, self.fallback_url = webhook_url, fallback_url
        self._gate = Authentication(account_sid, *tokens)
        resources = Resources(self.account, self._gate)
        self.rest: ASGIApp = RestApi(self._exchange, self._gate, resources.routes).app

    @staticmethod
    def credentials() -> Credentials:
        """Make up an account SID and an auth token."""
        return Credentials(
            f"AC{_MADE_UP}{secrets.token_hex(12)}", f"{_MADE_UP}{secrets.token_hex(12)}"
        )

    @property
    def webhook_url(self) -> str:
        """Where messages to the number are posted; what the REST API sets shows here too."""
        return self.account.webhook(self.number, "sms").url

    @webhook_url.setter
    def webhook_url(self, url: str) -> None:
        self._set("sms_url", "inbound_request_url", url)

    @property
    def fallback_url(self) -> str:
        """Who is asked when the webhook has failed."""
        return self.account.webhook(self.number, "sms").fallback_url

    @fallback_url.setter
    def fallback_url(self, url: str) -> None:
        self._set("sms_fallback_url", "fallback_url", url)

    def promote(self) -> None:
        """Make the secondary token the primary: it signs from now on, and the former is gone."""
        self._gate.tokens = self._gate.tokens[1:]
        self._line.auth_token = self._gate.tokens[0]

    @property
    def trouble(self) -> Trouble:
        """How it misbehaves; may be exchanged at any time."""
        return self._exchange.trouble

    @trouble.setter
    def trouble(self, trouble: Trouble) -> None:
        self._exchange.trouble = trouble

    @property
    def sent(self) -> tuple[Outbound, ...]:
        """The messages sent to people, in the order they were accepted."""
        return self._exchange.history.outbound

    @property
    def delivered(self) -> tuple[Delivered, ...]:
        """The people's messages, in the order their webhooks were answered."""
        return self._exchange.history.delivered

    @property
    def callbacks(self) -> tuple[StatusCallback, ...]:
        """The status callbacks, in the order they were answered."""
        return self._exchange.history.callbacks

    @property
    def opted_out(self) -> frozenset[str]:
        """The people who have sent STOP, and no START since."""
        return frozenset(self._exchange.opted_out)

    async def text(
        self,
        body: str = "",
        *,
        from_: str = "+15551230001",
        to: str | None = None,
        channel: Literal["sms", "whatsapp", "rcs"] = "sms",
        media: Sequence[str | Media] = (),
        button: Button | None = None,
        location: Location | None = None,
        profile_name: str = "Ada",
        extra: Mapping[str, str] | None = None,
        duplicates: int | None = None,
    ) -> Delivered:
        """Let a person send a message; return how the webhook answered.

        A wholly STOP or START message opts the person out or in, before the webhook is posted.

        Args:
            body: the text.
            from_: the person's number, or another address that people write from: a short code, an
                alphanumeric sender, `whatsapp:ID.4566546130240000`, `rcs:...`.
            to: the number written to, by default the simulator's. It may then be sent from.
            channel: `sms`, `whatsapp` or `rcs`; numbers without a channel are prefixed accordingly.
            media: URLs, their types guessed, or `Media`.
            button: the button pressed; with WhatsApp only, as the two below.
            location: the place shared.
            profile_name: the person's.
            extra: parameters to add, or to change.
            duplicates: how many more times this webhook is delivered; by default the trouble's.

        Raises:
            ConfigurationError: `webhook_url` or `fallback_url` is none that Twilio would take.
        """
        by = channel_of(from_) if ":" in from_ else channel
        webhook = self._webhook(to or self.number, by)
        self._exchange.own(to or self.number)
        text = Text(
            sid=self._exchange.sid("MM" if media else "SM"),
            account_sid=self._exchange.account_sid,
            from_=address(from_, by),
            to=address(to or self.number, by),
            body=body,
            media=tuple(media_of(one) if isinstance(one, str) else one for one in media),
            button=button,
            location=location,
            profile_name=profile_name,
            service=self.messaging_service_sid,
            extra=extra or {},
        )
        return await self._deliver(text, webhook, duplicates)

    def recall(self, texted: Texted) -> None:
        """Take over from a former simulator what a person's message has changed there."""
        self._exchange.own(texted.to)
        self._exchange.heed(dict(texted.params))

    async def wait_for(
        self,
        wanted: Callable[[Outbound], bool] = lambda _: True,
        *,
        to: str = "",
        after: int = 0,
    ) -> Outbound:
        """Return the first message to a person that fits, now or as soon as there is one.

        It is looked at again with each new status. Bound the wait with `asyncio.timeout`.

        Args:
            wanted: what else must hold.
            to: who it must be for.
            after: only those with a greater `Outbound.number`, as `Delivered.after` gives it.
        """
        return await self._exchange.history.wait_for(
            lambda sent: sent.number > after and to in {"", sent.to} and wanted(sent)
        )

    def listening(self, listener: Listener) -> AbstractContextManager[None]:
        """Tell a listener of each `Event`; of an `Outbound` at each of its statuses.

        The listener is called on the event loop, within the returned context; it must be quick
        and must not raise. For an iterator, let it be the `put_nowait` of an `asyncio.Queue`.
        """
        return self._exchange.history.listening(listener)

    def serve(self, host: str = "127.0.0.1", port: int = 0) -> AbstractAsyncContextManager[str]:
        """Serve the REST API on a socket of its own; the context is its base URL."""
        return serving(self.rest, host=host, port=port)

    async def close(self) -> None:
        """Stop reporting statuses, and let go of the connections."""
        await self._exchange.close()
        await self._line.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _set(self, of_number: str, of_service: str, url: str) -> None:
        record = self.account.number(self.number)
        if record is not None:
            record[of_number] = url
        if service := self.account.services.get(self.messaging_service_sid):
            service[of_service] = url

    def _webhook(self, number: str, channel: str) -> Webhook:
        """Return who is asked about a message to a number; one that nobody knows is ours too."""
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
        after = self._exchange.history.last_number
        self._exchange.heed(dict(params))
        self._exchange.history.record(
            Texted(text.sid, text.from_, text.to, params, time=time.time())
        )
        call = WebhookCall(
            webhook.url, params, self._exchange.token(), fallback_url=webhook.fallback_url
        )
        answer, repeats = await self._exchange.deliver(call, duplicates=duplicates)
        reading = (
            parse_twiml(answer.content_type, answer.body) if answer.error is None else TwimlResult()
        )
        delivered = _delivered(text, answer, repeats, reading, after)
        if delivered.error is not None:
            self.account.alert(delivered.error, without_fragment(webhook.url), text.sid)
        self._exchange.history.record(delivered)
        for said in reading.said:
            self._exchange.say(said, to=text.from_, from_=text.to)
        return delivered


def _is_made_up(token: str) -> bool:
    return token.startswith(_MADE_UP)


def address(number: str, channel: str) -> str:
    """Return a number as an address of a channel; what is one already stays as it is."""
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
