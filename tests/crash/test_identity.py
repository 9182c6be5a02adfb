"""A person who writes from a number, a user id, and the number again, is answered in this order.

The invariant: whatever is killed in between, one of the three is handled at a time, and each is
answered at the address it came from. Either address erases all of it.
"""

import asyncio
from pathlib import Path

import pytest

from testing.commands import Process, until
from tests.crash.simulated import simulated

NUMBER, USER_ID = "whatsapp:+15551230001", "whatsapp:US.15551230001"
BOT = """
import asyncio
from pathlib import Path
from offhook import Message, Offhook

app = Offhook()

def note(what: str) -> None:
    with Path("journal").open("a") as journal:
        print(what, file=journal, flush=True)

@app.message()
async def answer(message: Message) -> str:
    note(f"begin {message.body} {message.user_id}")
    while not Path("open").exists():
        await asyncio.sleep(0.02)
    note(f"end {message.body}")
    return message.body
"""


def begun(journal: Path, times: int, process: Process) -> None:
    until(lambda: journal.read_text().count("begin one") == times, process.explain)


@pytest.mark.parametrize(("kind", "erased"), [("sqlite", USER_ID), ("postgresql", NUMBER)])
async def test_number_user_id_and_number_again_with_kills_between(
    tmp_path: Path, request: pytest.FixtureRequest, kind: str, erased: str
) -> None:
    journal, store = tmp_path / "journal", "sqlite:///offhook.db"
    if kind == "postgresql":
        store = request.getfixturevalue("server").create_database("identity")
    async with simulated(tmp_path, BOT, OFFHOOK_STORE=store) as bot:
        simulator, home = bot.simulator, bot.home
        journal.touch()
        for text, sender in (("one", NUMBER), ("two", USER_ID), ("three", NUMBER)):
            began = journal.read_text().count("begin one")
            with home.start("run", "bot:app", "--port", bot.port, "--workers", "2") as process:
                await asyncio.to_thread(process.wait_for, "listening on")
                delivered = await simulator.text(text, from_=sender, channel="whatsapp")
                assert delivered.status == 200
                await asyncio.to_thread(begun, journal, began + 1, process)
                if text != "three":
                    process.kill()
                    continue
                (tmp_path / "open").touch()
                async with asyncio.timeout(60):
                    await simulator.wait_for(lambda sent: sent.body == "three")
                process.interrupt()
                await asyncio.to_thread(process.exit_status)
        events = journal.read_text().splitlines()
        while events[1] == f"begin one {USER_ID}":  # it was killed, and begins again
            del events[0]
        assert events == [
            f"begin one {USER_ID}", "end one", f"begin two {USER_ID}", "end two",
            f"begin three {USER_ID}", "end three",
        ]  # fmt: skip
        assert [(sent.body, sent.to) for sent in simulator.sent] == [
            ("one", NUMBER), ("two", USER_ID), ("three", NUMBER)
        ]  # fmt: skip
    assert home.run("messages", "erase", "--sender", erased, "--yes").returncode == 0
    assert home.run("messages", "list").stdout == "no messages\n"
    assert home.run("sends", "list").stdout == "no replies\n"
