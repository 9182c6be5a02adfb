"""Outbound messages of the simulated Twilio: opt-outs, accepted sends and their statuses."""

import asyncio
import math
import random
import time
import uuid
from collections.abc import Mapping
from dataclasses import replace
from typing import Final

from offhook.core.addresses import channel_of
from offhook.core.forms import Form
from offhook.core.opt_outs import TWILIO_WORDS
from offhook.twilio.simulator.addresses import number_of, opted_out_as
from offhook.twilio.simulator.delivery import WebhookCall, WebhookClient, WebhookResponse
from offhook.twilio.simulator.faults import Trouble
from offhook.twilio.simulator.log import EventLog, Outbound, StatusCallback
from offhook.twilio.simulator.payloads import STATUS_TYPE
from offhook.twilio.simulator.payloads import status as status_params
from offhook.twilio.simulator.twiml import Said

# Twilio's default words: https://www.twilio.com/docs/messaging/tutorials/advanced-opt-out
_START_WORDS: Final = frozenset({"START", "YES", "UNSTOP"})

WINDOW_CLOSED: Final = "63016"

StatusStep = tuple[str, str]
"""A status and its error code."""


class Messaging:
    """Accept messages to people and report their statuses.

    Args:
        numbers: our numbers to send from; a Messaging Service chooses the first.
        rng: draws SIDs and faults.
        status_delay: seconds between two statuses of a message.
    """

    def __init__(
        self,
        *,
        account_sid: str,
        numbers: list[str],
        webhooks: WebhookClient,
        trouble: Trouble,
        rng: random.Random,
        status_delay: float,
    ) -> None:
        self.account_sid = account_sid
        self.numbers = numbers
        self.trouble = trouble
        self.history = EventLog()
        self.opted_out: set[str] = set()
        self._heard: dict[tuple[str, str], float] = {}  # when a person last wrote to a number
        self._webhooks = webhooks
        self._rng = rng
        self._status_delay = status_delay
        self._reports: set[asyncio.Task[None]] = set()

    def happens(self, share: float) -> bool:
        """Draw whether a fault with a given share occurs."""
        return self._rng.random() < share

    def sid(self, prefix: str) -> str:
        """Return a new SID."""
        return f"{prefix}{self._rng.getrandbits(128):032x}"

    def token(self) -> str:
        """Return a new `I-Twilio-Idempotency-Token`."""
        return str(uuid.UUID(int=self._rng.getrandbits(128), version=4))

    def own(self, address: str) -> None:
        """Add an address to send from."""
        if not self.owns(address):
            self.numbers.append(address.rpartition(":")[2])

    def owns(self, address: str) -> bool:
        """Return whether messages may be sent from an address."""
        return address.rpartition(":")[2] in self.numbers

    def heed(self, params: Mapping[str, str], when: float) -> None:
        """Record that a person has written, and a STOP or START, for all of our numbers."""
        self._heard[number_of(params.get("From", "")), params.get("To", "")] = when
        person = opted_out_as(params.get("From", ""))
        word = params.get("Body", "").strip().upper()
        if TWILIO_WORDS.kind(params) == "STOP":
            self.opted_out.add(person)
        elif TWILIO_WORDS.kind(params) == "START" or (
            word in _START_WORDS and channel_of(person) == "sms"
        ):
            self.opted_out.discard(person)

    async def deliver(
        self, call: WebhookCall, *, duplicates: int | None = None
    ) -> tuple[WebhookResponse, tuple[WebhookResponse, ...]]:
        """Request a webhook; return its response, and those of the requested duplicates."""
        again = self.trouble.duplicates if duplicates is None else duplicates
        await asyncio.sleep(self.trouble.webhook_delay)
        if self.trouble.duplicates_at_once:
            first, *rest = await asyncio.gather(
                *(self._webhooks.request(call) for _ in range(1 + again))
            )
            return first, tuple(rest)
        first = await self._webhooks.request(call)
        return first, tuple([await self._webhooks.request(call) for _ in range(again)])

    def accept(self, form: Form) -> Outbound:
        """Accept a validated send, from the REST API's parameters."""
        service = form.get("MessagingServiceSid")
        media = tuple(value for name, value in form.fields if name == "MediaUrl")
        to = form.get("To")
        prefix = "" if channel_of(to) == "sms" else f"{channel_of(to)}:"
        return self._accepted(
            to=to,
            from_=form.get("From") or prefix + self.numbers[0],
            body=form.get("Body"),
            media=media,
            statuses=("accepted",) if service else ("queued",),
            service=service,
            content_sid=form.get("ContentSid"),
            content_variables=form.get("ContentVariables"),
            status_callback=form.get("StatusCallback"),
        )

    def say(self, said: Said, *, to: str, from_: str) -> None:
        """Send a message of a webhook's TwiML, unless the person has opted out."""
        if opted_out_as(to) in self.opted_out:
            return
        outbound = self._accepted(
            to=said.to or to,
            from_=from_,
            body=said.body,
            media=said.media,
            statuses=("queued",),
            inline=True,
        )
        self.report(outbound)

    def report(self, outbound: Outbound) -> asyncio.Event:
        """Start reporting a message's statuses; return an event set after the first report."""
        first = asyncio.Event()
        task = asyncio.create_task(self._report(outbound, first))
        self._reports.add(task)
        task.add_done_callback(self._reports.discard)
        return first

    async def close(self) -> None:
        """Stop reporting."""
        for task in self._reports:
            task.cancel()
        await asyncio.gather(*self._reports, return_exceptions=True)

    def _accepted(
        self,
        *,
        to: str,
        from_: str,
        body: str,
        media: tuple[str, ...],
        statuses: tuple[str, ...],
        service: str = "",
        content_sid: str = "",
        content_variables: str = "",
        status_callback: str = "",
        inline: bool = False,
    ) -> Outbound:
        outbound = Outbound(
            number=self.history.last_number + 1,
            sid=self.sid("MM" if media else "SM"),
            to=to,
            from_=from_,
            body=body,
            media=media,
            time=time.time(),
            statuses=statuses,
            service=service,
            content_sid=content_sid,
            content_variables=content_variables,
            status_callback=status_callback,
            inline=inline,
        )
        self.history.record(outbound)
        return outbound

    def _window_is_closed(self, outbound: Outbound) -> bool:
        """Return whether WhatsApp does not deliver a message because it is no template."""
        window = self.trouble.whatsapp_window
        if window is None or channel_of(outbound.to) != "whatsapp" or outbound.content_sid:
            return False
        last = self._heard.get((number_of(outbound.to), outbound.from_), -math.inf)
        return outbound.time - last >= window

    async def _report(self, outbound: Outbound, first: asyncio.Event) -> None:
        steps = status_steps(
            outbound, self.trouble, window_is_closed=self._window_is_closed(outbound)
        )
        try:
            if self.trouble.reorder_statuses:
                for step in steps:
                    self._advance(outbound.sid, step)
                steps = steps[::-1]
            for step in steps:
                await asyncio.sleep(self._status_delay)
                self._advance(outbound.sid, step)
                await self._call_back(outbound, step)
                first.set()
        finally:
            first.set()

    def _advance(self, sid: str, step: StatusStep) -> None:
        known = self.history.find(sid)
        status, error_code = step
        if known is not None and status not in known.statuses:
            statuses = (*known.statuses, status)
            self.history.record(replace(known, statuses=statuses, error_code=error_code))

    async def _call_back(self, outbound: Outbound, step: StatusStep) -> None:
        if not outbound.status_callback:
            return
        status, error_code = step
        at_the_end = channel_of(outbound.to) == "sms" and status in {"delivered", "undelivered"}
        params = status_params(
            sid=outbound.sid,
            account_sid=self.account_sid,
            from_=outbound.from_,
            to=outbound.to,
            status=status,
            error_code=error_code,
            service=outbound.service,
            when=time.strftime("%y%m%d%H%M", time.gmtime()) if at_the_end else "",
        )
        call = WebhookCall(outbound.status_callback, params, self.token(), STATUS_TYPE)
        answer, repeats = await self.deliver(call)
        for one in (answer, *repeats):
            self.history.record(
                StatusCallback(
                    sid=outbound.sid,
                    status=status,
                    error_code=error_code,
                    answered=one.status,
                    seconds=one.seconds,
                    attempts=one.attempts,
                    error=one.error,
                    requests=one.requests,
                )
            )


def status_steps(
    outbound: Outbound, trouble: Trouble, *, window_is_closed: bool = False
) -> tuple[StatusStep, ...]:
    """Return the statuses of a message after its first, each reported by a callback.

    https://www.twilio.com/docs/messaging/guides/outbound-message-status-in-status-callbacks
    """
    queued: tuple[StatusStep, ...] = (("queued", ""),) if outbound.service else ()
    if outbound.to in trouble.failed:
        return (*queued, ("failed", str(trouble.failed[outbound.to])))
    if outbound.to in trouble.undelivered:
        return (*queued, ("sent", ""), ("undelivered", str(trouble.undelivered[outbound.to])))
    if window_is_closed:  # https://www.twilio.com/docs/api/errors/63016
        return (*queued, ("sent", ""), ("undelivered", WINDOW_CLOSED))
    has_receipts = channel_of(outbound.to) in {"whatsapp", "rcs"}
    read: tuple[StatusStep, ...] = (("read", ""),) if has_receipts else ()
    return (*queued, ("sent", ""), ("delivered", ""), *read)
