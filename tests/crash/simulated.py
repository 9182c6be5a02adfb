"""A bot whose Twilio is simulated by the test, so that it outlives the bot's processes."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from offhook.twilio.simulator import Simulator
from testing.commands import Home
from testing.ports import free_port


@dataclass(frozen=True, slots=True)
class Simulated:
    """A bot, and the Twilio that calls it.

    Attributes:
        port: on which the bot has to listen.
    """

    simulator: Simulator
    home: Home
    port: str


@asynccontextmanager
async def simulated(directory: Path, bot: str, **settings: str) -> AsyncIterator[Simulated]:
    """Serve a simulated Twilio, and write a bot that answers it; nothing of the bot runs yet.

    Without slow notices: a machine that is slow would send them before the replies.
    """
    account, port = Simulator.credentials(), free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        Simulator(**account._asdict(), webhook_url=f"{url}/twilio/messages") as simulator,
        simulator.serve() as api,
    ):
        home = Home(
            directory,
            bot,
            TWILIO_ACCOUNT_SID=account.account_sid,
            TWILIO_AUTH_TOKEN=account.auth_token,
            OFFHOOK_PUBLIC_URL=url,
            OFFHOOK_TWILIO_API=api,
            OFFHOOK_SLOW_NOTICE="",
            **settings,
        )
        yield Simulated(simulator, home, str(port))
