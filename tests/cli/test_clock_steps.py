"""The wall clock is set while real processes run: nothing waits for it, nothing is overtaken."""

import asyncio
from pathlib import Path

import pytest

from testing.commands import PATIENCE, until
from testing.roles import in_thread, listening, site, working
from testing.stepped.clock import SteppedClock

HOUR, DECADE = 3600, 10 * 365 * 86_400

# The first messages hang until there is a file called `go`; what comes behind them waits.
BOT = """
import asyncio, time
from pathlib import Path

from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> str:
    with Path("runs").open("a") as runs:
        runs.write(f"{message.body}\\n")
    while "first" in message.body and not Path("go").exists():
        await asyncio.sleep(0.01)
    if "again" in message.body and message.attempt == 1:
        raise RuntimeError("the next attempt is a second later")
    return message.body
"""
LANES, BEHIND = 5, 3


@pytest.mark.parametrize("seconds", [-HOUR, DECADE], ids=["back", "ahead"])
async def test_what_waits_when_the_clock_is_set_is_answered_as_soon(
    tmp_path: Path, seconds: int
) -> None:
    """Messages, retries and replies, of before and after; and the log tells of it, once."""
    clock = SteppedClock(tmp_path / "clock")

    async with site(tmp_path, BOT, **clock.environment) as here:
        with here.run() as process:
            await listening(process)
            numbers = [f"+1555000000{n}" for n in range(LANES)]
            for number in numbers:
                await here.simulator.text("first", from_=number)
            runs = here.path / "run" / "runs"
            await in_thread(
                lambda: until(
                    lambda: runs.exists() and runs.read_text().count("\n") == LANES,
                    process.explain,
                )
            )
            for n in range(BEHIND):
                for number in numbers:
                    texted = await here.simulator.text(f"before {n}", from_=number)
                    assert texted.status == 200
            clock.set(seconds)
            here.let_go("run")
            for number in numbers:
                assert (await here.simulator.text("again", from_=number)).status == 200
            expected = ["first", *(f"before {n}" for n in range(BEHIND)), "again"]
            async with asyncio.timeout(PATIENCE):
                for number in numbers:
                    last = 0
                    for body in expected:
                        reply = await here.simulator.wait_for(to=number, after=last)
                        assert reply.body == body
                        last = reply.number
            await in_thread(lambda: process.wait_for("the clock was set"))
            assert process.output.count("the clock was set") == 1
            assert runs.read_text().count("before") == LANES * BEHIND


async def test_a_clock_set_ahead_ends_no_lease(tmp_path: Path) -> None:
    """What runs on one machine is not taken from it by another."""
    clock = SteppedClock(tmp_path / "clock")

    async with site(tmp_path, BOT, **clock.environment) as here:
        with (
            here.ingress() as ingress,
            here.worker("a", OFFHOOK_CONCURRENCY="1") as busy,
        ):
            await listening(ingress)
            await working(busy)
            await here.simulator.text("first", from_="+15550000001")
            runs = here.path / "a" / "runs"
            await in_thread(lambda: until(runs.exists, busy.explain))
            clock.set(HOUR)
            with here.worker("b"):
                # Whoever claims this takes all that is due, and `a` has no hands left.
                await here.simulator.text("other", from_="+15550000002")
                assert await here.reply(to="+15550000002") == "other"
                here.let_go("a")
                assert await here.reply(to="+15550000001") == "first"
                assert (here.path / "b" / "runs").read_text() == "other\n"
