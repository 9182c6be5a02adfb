"""What was being handled when everything was killed is handled again at once after the restart."""

import asyncio
import time
from pathlib import Path

import pytest

from testing.commands import until
from testing.postgres import PostgresServer
from tests.crash.simulated import simulated

LEASE = 3600
ANSWERED = 60.0  # seconds; it takes 0.1 on an idle machine, and 1.6 on PostgreSQL
BOT = """
import asyncio
from pathlib import Path
from offhook import Message, Offhook

app = Offhook()

@app.message()
async def answer(message: Message) -> str:
    if not Path("begun").exists():
        Path("begun").touch()
        await asyncio.sleep(3600)
    return f"You said: {message.body}"
"""


@pytest.fixture(params=["sqlite", "postgresql"])
def url_of_store(request: pytest.FixtureRequest, command: str) -> str:
    if request.param == "sqlite":
        return "sqlite:///offhook.db"
    server: PostgresServer = request.getfixturevalue("server")
    return server.create_database(f"takeover_{command}")


@pytest.mark.parametrize("command", ["run", "uvicorn"])
async def test_a_group_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, command: str, url_of_store: str
) -> None:
    settings = {
        "OFFHOOK_STORE": url_of_store,
        "OFFHOOK_LEASE": str(LEASE),
        "OFFHOOK_HANDLER_TIMEOUT": "60",
    }
    async with simulated(tmp_path, BOT, **settings) as bot:
        start = bot.home.start if command == "run" else bot.home.serve
        ready = "listening on" if command == "run" else "Uvicorn running on"
        arguments = ("run",) if command == "run" else ()
        options = (*arguments, "bot:app", "--port", bot.port)
        with start(*options) as process:
            await asyncio.to_thread(process.wait_for, ready)
            texted = await bot.simulator.text("hello")
            assert texted.status == 200
            await asyncio.to_thread(until, (tmp_path / "begun").exists, process.explain)
        with start(*options) as process:  # the first was killed, with all that it had started
            await asyncio.to_thread(process.wait_for, ready)
            began = time.monotonic()
            async with asyncio.timeout(ANSWERED):
                reply = await bot.simulator.wait_for(to=texted.from_, after=texted.after)
            assert reply.body == "You said: hello"
            print(f"answered {time.monotonic() - began:.2f} s after the restart was ready")  # noqa: T201 - `-rP`
