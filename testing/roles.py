"""Machines with one role each, and a simulated Twilio on the other side of them."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

from offhook.twilio.simulator import Simulator
from testing.commands import Home, Process, until
from testing.ports import free_port

T = TypeVar("T")
ACCOUNT = Simulator.credentials()

# A bot that hangs on "hang" until there is a file called `go`, and says who has it.
BOT = """
import asyncio, os
from pathlib import Path

from offhook import Message, Offhook

app = Offhook()

@app.message(where=lambda message: "hang" in message.body)
async def hang(message: Message) -> str:
    if not Path("first").exists():
        Path("first.tmp").write_text(str(os.getpid()))
        Path("first.tmp").rename("first")
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    return f"{message.body} {os.getpid()}"

@app.message()
async def answer(message: Message) -> str:
    return f"{message.body} {os.getpid()}"
"""


class Site:
    """Directories that stand for machines; nothing but the store joins them.

    Args:
        path: where they are.
        bot: what they all serve.
        environment: of all machines, as an attribute too.
    """

    def __init__(self, path: Path, simulator: Simulator, bot: str, **environment: str) -> None:
        self.path = path
        self._bot = bot
        self.simulator = simulator
        self.environment = environment

    @property
    def store(self) -> Path:
        """The folder of the store; away as long as it is not there."""
        return self.path / "store"

    def start(self, machine: str, *arguments: str, **environment: str) -> Process:
        """Start a command on a machine."""
        directory = self.path / machine
        directory.mkdir(exist_ok=True)
        return Home(directory, self._bot, **{**self.environment, **environment}).start(*arguments)

    @property
    def port(self) -> str:
        """The port that webhooks go to."""
        return self.simulator.webhook_url.split(":")[2].partition("/")[0]

    def run(self, machine: str = "run", *options: str, **environment: str) -> Process:
        return self.start(machine, "run", "bot:app", "--port", self.port, *options, **environment)

    def ingress(self, machine: str = "ingress", *options: str, **environment: str) -> Process:
        arguments = ("ingress", "bot:app", "--port", self.port, *options)
        return self.start(machine, *arguments, **environment)

    def worker(self, machine: str = "worker", *options: str, **environment: str) -> Process:
        return self.start(machine, "worker", "bot:app", *options, **environment)

    async def reply(self, to: str = "+15551230001", after: int = 0) -> str:
        async with asyncio.timeout(60):
            return (await self.simulator.wait_for(to=to, after=after)).body

    async def answering(self) -> int:
        """Send a message; return the process that answers it."""
        sent = await self.simulator.text("hello", from_="+15551230002")
        return int((await self.reply(sent.from_, sent.after)).split()[1])

    async def hanging(self, machine: str) -> int:
        """Wait for a handler to hang on a machine; return its process."""
        first = self.path / machine / "first"
        await in_thread(lambda: until(first.exists))
        return int(first.read_text())

    def let_go(self, machine: str) -> None:
        (self.path / machine / "go").touch()


@asynccontextmanager
async def site(path: Path, bot: str = BOT, **environment: str) -> AsyncIterator[Site]:
    url = f"http://127.0.0.1:{free_port()}"
    async with (
        Simulator(**ACCOUNT._asdict(), webhook_url=f"{url}/twilio/messages") as simulator,
        simulator.serve() as api,
    ):
        (path / "store").mkdir()
        own = {
            "TWILIO_ACCOUNT_SID": ACCOUNT.account_sid,
            "TWILIO_AUTH_TOKEN": ACCOUNT.auth_token,
            "OFFHOOK_PUBLIC_URL": url,
            "OFFHOOK_TWILIO_API": api,
            "OFFHOOK_STORE": f"sqlite:///{path}/store/offhook.db",
            "OFFHOOK_SLOW_NOTICE": "",  # a machine that is slow would send it before the reply
        }
        yield Site(path, simulator, bot, **{**own, **environment})


async def listening(process: Process) -> None:
    await in_thread(lambda: process.wait_for("listening on"))


async def working(process: Process) -> None:
    await in_thread(lambda: process.wait_for("worker ready:"))


async def ended(process: Process) -> int:
    return await in_thread(process.exit_status)


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)
