"""What was scheduled leaves once, although everything was killed before it was due."""

import asyncio
from pathlib import Path

from offhook.core.lifecycle import SendState
from offhook.twilio.simulator import Simulator
from testing.commands import Home
from testing.ports import free_port
from testing.stores import opened

ANN, BOB = "+15551230001", "+15551230002"
BOT = """
from datetime import timedelta
from offhook import Message, Offhook

app = Offhook()
AT = {"remind me": timedelta(seconds=10), "still there?": timedelta(seconds=9.5)}

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
            OFFHOOK_SLOW_NOTICE="",
        )
        options = ("run", "bot:app", "--port", str(port), "--workers", "2")
        with home.start(*options) as process:
            await asyncio.to_thread(process.wait_for, "listening on")
            for person, text in ((BOB, "still there?"), (ANN, "remind me")):
                assert (await simulator.text(text, from_=person)).status == 200
                async with asyncio.timeout(60):
                    await simulator.wait_for(lambda sent: sent.body == "scheduled", to=person)
            # Acknowledged a moment before the end: no worker may have read it yet.
            assert (await simulator.text("yes", from_=BOB)).status == 200
            process.kill()
        with home.start(*options) as process:
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
