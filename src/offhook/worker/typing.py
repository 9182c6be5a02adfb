"""Show the sender of a running message that an answer is being written."""

import time
from typing import Protocol

from offhook.core.calls import Call
from offhook.core.messages import InboundMessage
from offhook.twilio.typing_indicator import CHANNEL, LASTS
from offhook.worker.handler_calls import HandlerCalls


class Indicator(Protocol):
    """Shows typing indicators."""

    def show(self, message_sid: str, account_sid: str) -> None:
        """Show one to the sender of a WhatsApp message. Never waits, and raises nothing."""
        ...


class RunTyping:
    """The typing indicator of one run. It may be shown on any thread.

    Args:
        indicator: of the running event loop; None where there is no Twilio.
        calls: of the run.
        message: the message.
    """

    def __init__(
        self, indicator: Indicator | None, calls: HandlerCalls, message: InboundMessage
    ) -> None:
        self._indicator = indicator if message.channel == CHANNEL else None
        self._calls = calls
        self._message = message
        self._lasts_until = 0.0

    def show(self, where: str) -> Call[None]:
        """Show the indicator, unless it is shown at present. Nothing needs to be awaited."""
        if self._indicator is not None:
            self._calls.soon(self._show)
        return Call.done(None, "message.typing", where)

    def _show(self) -> None:
        now = time.monotonic()
        if self._indicator is not None and now >= self._lasts_until:
            self._lasts_until = now + LASTS
            self._indicator.show(self._message.sid, self._message.account_sid)
