"""Two bots that talk with each other are stopped; a person is not, however fast they write."""

import asyncio
import json
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

from offhook.core.loop_detection import PROBE
from offhook.twilio.simulator import Simulator
from offhook.twilio.simulator.log import Outbound
from testing.commands import Call, Home
from testing.ports import free_port

LIMIT = 6
ALICE, BOB = "+15005550006", "+15005550007"

# One answers in a sentence, the other in three, and both in an instant.
ONE = """
from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> str:
    return f"I do not understand {len(message.body)} letters."
"""
THREE = """
from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> list[str]:
    return ["Thank you.", "We have your message.", "Our office opens at nine."]
"""


class Exchange:
    """Carries what a bot sends to the other one's number there, at once."""

    def __init__(self) -> None:
        self.simulators: dict[str, Simulator] = {}
        self.carried: list[tuple[str, str]] = []
        self._seen: set[str] = set()
        self._carrying: set[asyncio.Task[Any]] = set()

    def add(self, simulator: Simulator) -> None:
        self.simulators[simulator.number] = simulator

    def carry(self, event: object) -> None:
        if isinstance(event, Outbound) and event.sid not in self._seen:
            self._seen.add(event.sid)
            self.carried.append((event.from_, event.body))
            if event.to in self.simulators:
                self._begin(self.simulators[event.to].text(event.body, from_=event.from_))

    async def rests(self, seconds: float) -> int:
        """Wait until nothing has been said for a while; return how much was said in all."""
        count = -1
        while count != len(self.carried):
            count = len(self.carried)
            await asyncio.sleep(seconds)
        return count

    def _begin(self, work: Coroutine[Any, Any, object]) -> None:
        task = asyncio.create_task(work)
        self._carrying.add(task)
        task.add_done_callback(self._carrying.discard)


async def test_two_bots_that_talk_with_each_other_are_stopped_and_let_go(
    tmp_path: Path, call_in: Callable[[Home], Call]
) -> None:
    homes = {ALICE: home(tmp_path / "alice", ONE), BOB: home(tmp_path / "bob", THREE)}

    exchange = Exchange()
    async with AsyncExitStack() as stack, asyncio.timeout(120):
        for number, one in homes.items():
            exchange.add(await started(stack, one, number, exchange))
        await exchange.simulators[ALICE].text("Hello?", from_=BOB)
        said = await exchange.rests(PROBE + 1)
        # A machine that is slow enough looks like one on which nothing is said any more.
        while not any([await parked(call_in(one)) for one in homes.values()]):
            said = await exchange.rests(PROBE + 1)
        # Three answers come to each of hers, and she answers each of them: it grows.
        assert said >= LIMIT
        # Now it is a person who writes, from the same number.
        await exchange.simulators[ALICE].text("Are you a person?", from_=BOB)
        await exchange.simulators[ALICE].wait_for(lambda sent: "17 letters" in sent.body)


def home(directory: Path, bot: str) -> Home:
    directory.mkdir()
    return Home(directory, bot, OFFHOOK_LOOP_LIMIT=f"{LIMIT}/minute", OFFHOOK_ADMIN_BIND="")


async def started(stack: AsyncExitStack, one: Home, number: str, exchange: Exchange) -> Simulator:
    """Start a bot under a Twilio of its own."""
    account, port = Simulator.credentials(), free_port()
    simulator = await stack.enter_async_context(
        Simulator(
            **account._asdict(),
            number=number,
            webhook_url=f"http://127.0.0.1:{port}/twilio/messages#rc=5&rp=ct",
        )
    )
    stack.enter_context(simulator.listening(exchange.carry))
    one.environment |= {
        "TWILIO_ACCOUNT_SID": account.account_sid,
        "TWILIO_AUTH_TOKEN": account.auth_token,
        "OFFHOOK_TWILIO_API": await stack.enter_async_context(simulator.serve()),
        "OFFHOOK_PUBLIC_URL": f"http://127.0.0.1:{port}",
    }
    process = stack.enter_context(one.start("run", "bot:app", "--port", str(port)))
    await asyncio.to_thread(process.wait_for, "listening on")
    return simulator


async def parked(call: Call) -> list[str]:
    listed = await asyncio.to_thread(call, "messages", "list", "--state", "parked", "--json")
    return [json.loads(line)["error"] for line in listed.stdout.splitlines()]
