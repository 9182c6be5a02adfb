"""`offhook messages erase`: a person is forgotten."""

import asyncio
import sys
from dataclasses import dataclass
from typing import Annotated, Final

import typer

from offhook.cli.options import JsonOption, StoreOption
from offhook.cli.stores import existing, settings_beside_dev
from offhook.concurrency import wait_for_event
from offhook.core.addresses import folded
from offhook.core.privacy import spellings
from offhook.observe.redaction import mask
from offhook.process.server import on_signals
from offhook.settings import Settings
from offhook.terminal import console, print_json

_AT_ONCE: Final = 100  # messages and as many sends: some ms of a store's time
_POLL: Final = 0.5  # seconds between two looks at what is busy


@dataclass(slots=True)
class _Erased:
    erased: int = 0
    busy: int = 0


def command(
    *,
    sender: Annotated[str, typer.Option(metavar="NUMBER", help="Whom to forget, in full.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    wait: Annotated[
        float, typer.Option(min=0, metavar="SECONDS", help="For what is being handled or sent.")
    ] = 120.0,
    store: StoreOption = None,
    as_json: JsonOption = False,
) -> None:
    """Erases a person: messages, statuses, attempts and replies, of SMS and WhatsApp alike.

    What waits is not handled any more. What is being handled or sent is waited for. There is no
    way back; what Twilio keeps, Twilio keeps. On a machine with a spool, erase there as well, with
    --store and its URL.

    [bold]Examples[/]
      offhook messages erase --sender +15551230001
      offhook messages erase --sender +15551230001 --store sqlite:///spool.db --yes
    """
    settings = settings_beside_dev(store)
    if not sender.strip():
        raise typer.BadParameter("--sender must name somebody")
    shown = ", ".join(dict.fromkeys(mask(folded(one)) for one in spellings(sender)))
    if not yes:
        _ask(shown)
    result = asyncio.run(_erase(settings, sender, wait))
    if as_json:
        print_json({"erased": result.erased, "busy": result.busy})
    else:
        console().print(f"{result.erased:,} messages and sends of {shown} erased")
    if result.busy:
        console(stderr=True).print(
            f"{result.busy} are still being handled or sent: run it again", style="red"
        )
        raise typer.Exit(1)


def _ask(shown: str) -> None:
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"add --yes to erase {shown}: there is no way back")
    typer.confirm(f"erase {shown}? There is no way back", abort=True, err=True)


async def _erase(settings: Settings, sender: str, patience: float) -> _Erased:
    """Erase until nothing is found, or only what stays busy for too long. Ctrl-C ends it early."""
    stop = asyncio.Event()
    on_signals(stop.set)
    result = _Erased()
    async with existing(settings) as store:
        deadline = asyncio.get_running_loop().time() + patience
        while True:
            step = await store.erase(sender, _AT_ONCE)
            result.erased += step.erased
            result.busy = step.busy
            if step.erased and not stop.is_set():
                continue
            late = asyncio.get_running_loop().time() >= deadline
            if not step.busy or late or stop.is_set():
                break
            await wait_for_event(stop, _POLL)
        await store.tidy()  # out of the log as well, as far as nobody reads it
    return result
