"""What was scheduled leaves once, although everything was killed before it was due."""

import asyncio
import time
from pathlib import Path

from offhook.core.lifecycle import SendState
from testing.stores import opened
from tests.conformance.clocks import clock_of
from tests.crash.simulated import simulated

ANN, BOB = "+15551230001", "+15551230002"
BOT = """
from datetime import timedelta
from offhook import Message, Offhook

app = Offhook()
AT = {"remind me": timedelta(seconds=3600), "still there?": timedelta(seconds=3599.5)}

@app.message(where=lambda message: message.body in AT)
async def schedule(message: Message) -> str:
    await app.send(
        message.from_,
        message.body,
        key=message.from_,
        at=AT[message.body],
        unless_reply=message.body == "still there?",
    )
    return "scheduled"

@app.message()
async def ignore(message: Message) -> None:
    pass
"""


async def test_a_reminder_leaves_once_after_the_restart_and_never_if_the_person_wrote(
    tmp_path: Path,
) -> None:
    async with simulated(tmp_path, BOT) as bot:
        simulator = bot.simulator
        options = ("run", "bot:app", "--port", bot.port, "--workers", "2")
        with bot.home.start(*options) as process:
            await asyncio.to_thread(process.wait_for, "listening on")
            began = time.monotonic()
            for person, text in ((BOB, "still there?"), (ANN, "remind me")):
                assert (await simulator.text(text, from_=person)).status == 200
                async with asyncio.timeout(60):
                    await simulator.wait_for(lambda sent: sent.body == "scheduled", to=person)
            # Acknowledged a moment before the end: no worker may have read it yet.
            assert (await simulator.text("yes", from_=BOB)).status == 200
            process.kill()
        # Both are due in a moment, and were not when Bob wrote.
        async with clock_of(f"sqlite:///{tmp_path}/offhook.db") as clock:
            await clock.advance(3598 - int(time.monotonic() - began))
        with bot.home.start(*options) as process:
            await asyncio.to_thread(process.wait_for, "listening on")
            async with asyncio.timeout(60):
                await simulator.wait_for(lambda sent: sent.body == "remind me", to=ANN)
            # What Bob had been due for was due before; and a second one would be on its way.
            async with opened(tmp_path / "offhook.db") as store:
                while (await store.counts()).unsent:
                    pass
                counts = await store.counts()
        assert counts.sends[SendState.CANCELED] == 1
        assert counts.sends[SendState.SCHEDULED] == 0
    assert [sent.body for sent in simulator.sent].count("remind me") == 1
    assert [sent.body for sent in simulator.sent].count("still there?") == 0
