"""What was being handled when everything was killed is handled again at once after the restart."""

import asyncio
from pathlib import Path

import pytest

from offhook.twilio.simulator import Simulator
from testing.commands import Home, until
from testing.ports import free_port

LEASE = 3600
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


@pytest.mark.parametrize("command", ["run", "uvicorn"])
async def test_a_group_that_is_killed_goes_on_where_it_was(tmp_path: Path, command: str) -> None:
    account, port = Simulator.credentials(), free_port()
    url = f"http://127.0.0.1:{port}"
    async with (
        Simulator(**account._asdict(), webhook_url=f"{url}/twilio/messages") as simulator,
        simulator.serve() as api,
    ):
        home = Home(
            tmp_path,
            BOT,
            TWILIO_ACCOUNT_SID=account.account_sid,
            TWILIO_AUTH_TOKEN=account.auth_token,
            OFFHOOK_PUBLIC_URL=url,
            OFFHOOK_TWILIO_API=api,
            OFFHOOK_LEASE=str(LEASE),
            OFFHOOK_HANDLER_TIMEOUT="60",
            OFFHOOK_SLOW_NOTICE="",  # a machine that is slow would send it before the reply
        )
        start = home.start if command == "run" else home.serve
        ready = "listening on" if command == "run" else "Uvicorn running on"
        arguments = ("run",) if command == "run" else ()
        options = (*arguments, "bot:app", "--port", str(port))
        with start(*options) as process:
            await asyncio.to_thread(process.wait_for, ready)
            texted = await simulator.text("hello")
            assert texted.status == 200
            await asyncio.to_thread(until, (tmp_path / "begun").exists, process.explain)
        with start(*options) as process:  # the first was killed, with all that it had started
            await asyncio.to_thread(process.wait_for, ready)
            async with asyncio.timeout(60):
                reply = await simulator.wait_for(to=texted.from_, after=texted.after)
            assert reply.body == "You said: hello"
