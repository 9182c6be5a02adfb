"""The bot, with its store and its worker, and a simulated Twilio: nothing leaves this machine."""

import asyncio
import socket
from pathlib import Path

import uvicorn
from bot import app

from offhook.twilio.simulator import Simulator, Trouble


async def serve_and_text(store: Path) -> None:
    account = Simulator.credentials()
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    simulator = Simulator(
        account_sid=account.account_sid,
        auth_token=account.auth_token,
        webhook_url=f"{url}/twilio/messages",
        trouble=Trouble(duplicates=2),  # every webhook comes three times
    )
    async with simulator, simulator.serve() as rest:
        # What the environment or .env says of these is not used here.
        app.configure(
            account_sid=account.account_sid,
            auth_token=account.auth_token,
            api_key="",
            twilio_api=rest,
            public_url=url,
            sender="",
            store=f"sqlite:///{store}",
            cache="memory://",
        )
        server = uvicorn.Server(uvicorn.Config(app, log_config=None))
        serving = asyncio.create_task(server.serve(sockets=[listener]))
        while not server.started:
            await asyncio.sleep(0.01)

        delivered = await simulator.text("hello")
        assert delivered.status == 200
        async with asyncio.timeout(30):
            reply = await simulator.wait_for(after=delivered.after)
        assert reply.body == "You said: hello"

        server.should_exit = True
        await serving


def test_the_bot_answers(tmp_path: Path) -> None:
    asyncio.run(serve_and_text(tmp_path / "bot.db"))
