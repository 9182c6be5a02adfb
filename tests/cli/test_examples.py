"""Every example answers."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager
from functools import cache
from pathlib import Path

import pytest

from offhook.core.lifecycle import SendState
from offhook.twilio.simulator import File, Simulator, Trouble
from testing.commands import Call, Home, dev, until
from testing.ports import free_port
from testing.stores import opened

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_all_are_tried_here_and_stay_small() -> None:
    found = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert found.keys() == {
        "echo", "slow_llm", "mounted", "save_photo", "reminders", "form", "assistant"
    }  # fmt: skip
    assert max(found.values()) < 50


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[str], Home]]:
    """Return what serves an example under `offhook dev`, once for all that write to it."""
    with ExitStack() as stack:

        @cache
        def serve(name: str) -> Home:
            home = Home(tmp_path_factory.mktemp(name))
            running = stack.enter_context(dev(home, f"{EXAMPLES / name}.py"))
            assert f"{name}:app" in running.output
            return home

        yield serve


@pytest.mark.parametrize(
    ("name", "replies"),
    [
        ("echo", ["You said: why"]),
        (
            "slow_llm",
            ["You ask: why.", "I have thought about it.", "There is more than one answer."],
        ),
    ],
)
def test_an_example_under_dev(
    served: Callable[[str], Home],
    call_in: Callable[[Home], Call],
    name: str,
    replies: list[str],
) -> None:
    said = call_in(served(name))("text", "why")
    assert said.status == 0, said.stdout
    assert [line[14:] for line in said.stdout.splitlines() if line.startswith("reply")] == replies


def test_long_answers_sentence_by_sentence_are_no_loop(
    served: Callable[[str], Home], call_in: Callable[[Home], Call]
) -> None:
    text = call_in(served("slow_llm"))
    for number in range(3):
        long = f"{number}. Two! Three! Four! Five! Six! Seven! Eight! Nine! Ten"
        said = text("text", long, "--from", "+15551230002")
        assert said.status == 0, said.stdout
        assert said.stdout.count("\nreply") == 12


def test_a_reminder_leaves_when_it_is_due(
    served: Callable[[str], Home], call_in: Callable[[Home], Call]
) -> None:
    home = served("reminders")
    text = call_in(home)
    for body, answer in (
        ("in 1 s: tea", "I will remind you in 1 s."),
        ("and now?", "Write for example: in 10 min: take out the bread"),
    ):
        said = text("text", body)
        assert said.status == 0, said.stdout
        assert answer in said.stdout

    async def states() -> list[int]:
        """Return how many have left, wait for their time, and were cancelled."""
        async with opened(home.directory / ".offhook" / "dev.db") as store:
            sends = (await store.counts()).sends
        return [sends[one] for one in (SendState.SENT, SendState.SCHEDULED, SendState.CANCELED)]

    # Two replies and the reminder. The question was cancelled by the second message.
    until(lambda: asyncio.run(states()) == [3, 0, 1])


async def test_the_mounted_one_under_uvicorn(tmp_path: Path) -> None:
    async with under_uvicorn("mounted:api", tmp_path, "/bot/twilio/messages") as simulator:
        assert (await simulator.text("hello")).status == 200
        assert (await simulator.wait_for()).body == "Hello from FastAPI, +15551230001!"


async def test_the_one_that_saves_photos(tmp_path: Path) -> None:
    photos = [File(b"a cat", "image/png"), File(b"a song", "audio/ogg"), File(b"a dog")]
    async with under_uvicorn("save_photo:app", tmp_path, "/twilio/messages") as simulator:
        simulator.trouble = Trouble(media_missing=2)
        sent = await simulator.text("look", channel="whatsapp", media=photos)
        assert (await simulator.wait_for()).body == "2 photos saved."
    names = {f"{sent.sid}-0.png": b"a cat", f"{sent.sid}-1.jpg": b"a dog"}
    assert {path.name: path.read_bytes() for path in (tmp_path / "photos").iterdir()} == names


async def test_the_form(tmp_path: Path) -> None:
    async with under_uvicorn("form:app", tmp_path, "/twilio/messages") as simulator:
        for body, media, answer in (
            ("hello", (), "Welcome. What is your name?"),
            ("Ann", (), "Hello Ann. How old are you?"),
            ("old", (), "Your age in years, please."),
            ("36", (), "Send me a photo of yourself, please."),
            ("why?", (), "A photo, please."),
            ("", (File(b"me", "image/jpeg"),), "Thank you, Ann, 36. That is all."),
            ("thanks", (), "We have all we need. Thank you."),
        ):
            sent = await simulator.text(body, media=media)
            assert (await simulator.wait_for(after=sent.after)).body == answer
        sent = await simulator.text("hello", from_="+15551230002")
        assert (await simulator.wait_for(after=sent.after)).body == "Welcome. What is your name?"
    assert [path.read_bytes() for path in tmp_path.glob("*.jpg")] == [b"me"]


async def test_the_assistant_with_a_memory(tmp_path: Path) -> None:
    async with under_uvicorn("assistant:app", tmp_path, "/twilio/messages") as simulator:
        for body, sender, answer in (
            ("What is my name?", "+15551230001", "You have not told me."),
            ("Well, my name is Ann.", "+15551230001", "Your name is Ann."),
            ("Hello", "+15551230001", "You have written 3 messages."),
            ("What is my name?", "+15551230001", "Your name is Ann."),
            ("What is my name?", "+15551230002", "You have not told me."),
        ):
            sent = await simulator.text(body, from_=sender)
            assert (await simulator.wait_for(after=sent.after)).body == answer


@asynccontextmanager
async def under_uvicorn(app: str, folder: Path, path: str) -> AsyncIterator[Simulator]:
    """Serve an example with uvicorn; yield the simulator that it answers."""
    account = Simulator.credentials()
    port = free_port()
    webhook = f"http://127.0.0.1:{port}{path}#rc=5&rp=ct"
    async with (
        asyncio.timeout(120),
        Simulator(**account._asdict(), webhook_url=webhook) as simulator,
        simulator.serve() as api,
    ):
        environment = {
            **os.environ,
            "TWILIO_ACCOUNT_SID": account.account_sid,
            "TWILIO_AUTH_TOKEN": account.auth_token,
            "OFFHOOK_TWILIO_API": api,
        }
        server = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), app,
            "--port", str(port), cwd=folder, env=environment, stderr=subprocess.PIPE,
        )  # fmt: skip
        try:
            await _started(server)
            yield simulator
        finally:
            server.terminate()
            await server.communicate()


async def _started(server: asyncio.subprocess.Process) -> None:
    seen = b""
    while b"Uvicorn running" not in seen:
        line = await server.stderr.readline() if server.stderr else b""
        assert line, seen.decode()
        seen += line
