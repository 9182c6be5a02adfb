"""The live transcript of conversations in the terminal of `offhook dev`."""

import time

from rich.console import Console
from rich.text import Text

from offhook.observe.redaction import printable
from offhook.terminal import milliseconds
from offhook.twilio.simulator import (
    Delivered,
    Event,
    Outbound,
    RestCall,
    StatusCallback,
    Texted,
)

_WIDTH = 22  # of an address: "whatsapp:+15551230001" fits


class Transcript:
    """Print messages and replies, unmasked: they are simulated.

    A listener for `Simulator.listening`.
    """

    def __init__(self, console: Console) -> None:
        self._console = console

    def __call__(self, event: Event) -> None:
        """Print an event, if it is a message or its outcome."""
        match event:
            case Delivered():
                self._line(event.from_, "->", event.body or _media(len(event.media)), _end(event))
            case Outbound(error_code="") if len(event.statuses) == 1:
                self._line(event.to, "<-", event.body or _media(len(event.media)))
            case Outbound(error_code=code) if code:
                self._line(event.to, "<-", f"{event.status}: error {code}", style="red")
            case Outbound() | Texted() | RestCall() | StatusCallback():
                pass

    def _line(self, who: str, arrow: str, text: str, end: str = "", *, style: str = "") -> None:
        made = Text(f"{time.strftime('%H:%M:%S')} ", style="dim")
        made.append(f"{printable(who):<{_WIDTH}} {arrow} ", style="cyan")
        made.append(printable(text), style=style or "default")
        made.append(f"   {end}" if end else "", style="dim" if "error" not in end else "red")
        self._console.print(made, soft_wrap=True)


def _end(delivered: Delivered) -> str:
    if delivered.error is not None:
        return f"error {delivered.error}, HTTP {delivered.status or 'without an answer'}"
    repeats = f", delivered {1 + len(delivered.repeats)} times" if delivered.repeats else ""
    return f"acknowledged in {milliseconds(delivered.seconds)}{repeats}"


def _media(count: int) -> str:
    return f"({count} media)"
