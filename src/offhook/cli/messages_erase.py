"""`offhook messages erase`: delete everything stored about a person."""

import asyncio
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from offhook.arrivals import set_aside
from offhook.cli.options import JsonOption, StoreOption, parsed
from offhook.cli.stores import existing, settings_beside_dev
from offhook.concurrency import wait_for_event
from offhook.core.addresses import folded
from offhook.core.privacy import spellings
from offhook.core.values import at_least
from offhook.observe.redaction import mask
from offhook.process.event_loop import on_signals
from offhook.settings import Settings
from offhook.terminal import complain, console, print_json

_BATCH: Final = 100  # messages, and as many sends: a few ms of the store's time
_POLL_INTERVAL: Final = 0.5  # seconds


@dataclass(slots=True)
class _Erased:
    erased: int = 0
    busy: int = 0
    unsorted: str = ""
    unread: Sequence[Path] = ()
    addresses: Sequence[str] = ()

    def left(self) -> str:
        """Return what may be left of the person, as a sentence; empty if nothing is."""
        if self.busy:
            return f"{self.busy} are still being handled or sent: run the command again"
        if self.unsorted:
            return f"{self.unsorted}: run the command again"
        if self.unread:
            files = ", ".join(map(str, self.unread))
            return f"what can't be read may be theirs: look into {files} (see `offhook doctor`)"
        return ""


def command(
    *,
    sender: Annotated[
        str, typer.Option(metavar="NUMBER", help="The person's number or user id, in full.")
    ],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")] = False,
    wait: Annotated[
        float,
        typer.Option(
            parser=parsed(at_least(0)),
            metavar="SECONDS",
            help="How long to wait for messages being handled or sent.",
        ),
    ] = 120.0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erase a person, on SMS and WhatsApp alike: messages, statuses, attempts, replies, states.

    A number stands for the user ids that were seen with it on WhatsApp too, and a user id for its
    number.

    Waiting messages are not handled; the command waits for those being handled or sent. What was
    just acknowledged is moved into the store first, and erased there. This can't be undone, and
    does not delete what Twilio stores. Run it on each machine whose ingress has a spool
    (OFFHOOK_SPOOL).

    [bold]Examples[/]
      offhook messages erase --sender +15551230001
      offhook messages erase --sender +15551230001 --yes
      offhook messages erase --sender whatsapp:US.13491208655302741918
    """
    settings = settings_beside_dev(store)
    if not sender.strip():
        raise typer.BadParameter("--sender is empty")
    if not yes:
        _ask(_masked(spellings(sender)))
    result = asyncio.run(_erase(settings, sender, wait))
    if as_json:
        print_json({"erased": result.erased, "busy": result.busy})
    else:
        shown = _masked(result.addresses)
        console().print(f"{result.erased:,} messages, sends and states of {shown} erased")
    if left := result.left():
        complain(left)
        raise typer.Exit(1)


def _masked(addresses: Sequence[str]) -> str:
    return ", ".join(dict.fromkeys(mask(folded(one)) for one in addresses))


def _ask(shown: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"add --yes to erase {shown}: this can't be undone")
    typer.confirm(f"erase {shown}? This can't be undone", abort=True, err=True)


async def _erase(settings: Settings, sender: str, wait: float) -> _Erased:
    """Erase until nothing is left, `wait` seconds have passed, or Ctrl-C."""
    stop = asyncio.Event()
    on_signals(stop.set)
    result = _Erased()

    def note(unsorted: str) -> None:
        result.unsorted = unsorted

    async with existing(settings, patience=wait, unsorted=note) as store:
        result.addresses = await store.addresses_of(sender)
        deadline = asyncio.get_running_loop().time() + wait
        while True:
            step = await store.erase(sender, _BATCH)
            result.erased += step.erased
            result.busy = step.busy
            if step.erased and not stop.is_set():
                continue
            late = asyncio.get_running_loop().time() >= deadline
            if not step.busy or late or stop.is_set():
                break
            await wait_for_event(stop, _POLL_INTERVAL)
        await store.tidy()  # from the write-ahead log too, unless a reader still needs it
        for home in settings.homes_of_logs:
            aside = await asyncio.to_thread(set_aside.erase, home, result.addresses)
            result.erased += aside.number
            result.unread = [*result.unread, *aside.unread]
    return result
