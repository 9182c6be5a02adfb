"""`offhook dev` with a real account: the simulated Twilio stands for it, outside."""

from pathlib import Path

from offhook.twilio.simulator import Simulator
from testing.commands import ECHO, Home
from testing.plain_http import PlainClient
from testing.ports import free_port
from testing.roles import in_thread


async def test_a_bot_with_a_real_number_is_reloaded(tmp_path: Path) -> None:
    port = free_port()
    tunnel = f"http://localhost:{port}"  # another name than the one it listens on
    account = Simulator.credentials()
    async with (
        Simulator(
            account_sid=account.account_sid,
            auth_token=account.auth_token,
            webhook_url=f"{tunnel}/twilio/messages",
        ) as twilio,
        twilio.serve() as api,
    ):
        home = Home(
            tmp_path,
            TWILIO_ACCOUNT_SID=account.account_sid,
            TWILIO_AUTH_TOKEN=account.auth_token,
            OFFHOOK_TWILIO_API=api,
            OFFHOOK_PUBLIC_URL="https://bot.example.com",
            OFFHOOK_STORE="sqlite:///production.db",
            OFFHOOK_SIGNATURE="off",
        )
        options = ("--port", str(port), "--tunnel-url", tunnel)
        with home.start("dev", "bot:app", *options) as process:
            await in_thread(lambda: process.wait_for("In another terminal"))
            assert "real: people get real messages" in process.output
            assert "not used here: OFFHOOK_PUBLIC_URL, OFFHOOK_STORE" in process.output
            assert "/phone" not in process.output
            assert await answer(twilio) == "You said: hello"

            home.write_bot(ECHO.replace("You said", "You wrote"))
            await in_thread(lambda: process.wait_for("reloaded"))
            assert await answer(twilio) == "You wrote: hello"

            url = f"{tunnel}/twilio/messages"
            assert await in_thread(lambda: unsigned(url)) == 403
            said = await in_thread(lambda: home.run("text", "hello"))
            assert "no offhook dev is running" in said.stderr, "this one is not for it"
            process.interrupt()
            assert await in_thread(process.exit_status) == 0
    assert (tmp_path / ".offhook" / "tunnel.db").exists()
    assert not (tmp_path / "production.db").exists()


async def answer(twilio: Simulator) -> str:
    delivered = await twilio.text("hello")
    assert delivered.status == 200
    return (await twilio.wait_for(after=delivered.after)).body


def unsigned(url: str) -> int:
    with PlainClient() as client:
        return int(client.post(url, data={"MessageSid": "SM1"}).status_code)


def test_it_needs_an_account(tmp_path: Path) -> None:
    ended = Home(tmp_path).run("dev", "bot:app", "--port", "0", "--tunnel-url", "https://t.example")
    assert ended.returncode == 1
    assert "TWILIO_ACCOUNT_SID and TWILIO_AUTH_TOKEN must be set" in ended.stderr
