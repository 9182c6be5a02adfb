"""Every example answers."""

import asyncio
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from pathlib import Path

import pytest

from offhook.twilio.simulator import Simulator
from testing.commands import Call, Home, dev
from testing.ports import free_port

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_all_are_tried_here_and_stay_small() -> None:
    found = {path.stem: len(path.read_text().splitlines()) for path in EXAMPLES.glob("*.py")}
    assert found.keys() == {"echo", "slow_llm", "mounted"}
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


def test_the_mounted_one_under_uvicorn(tmp_path: Path) -> None:
    account = Simulator.credentials()
    port = free_port()

    async def scenario() -> str:
        webhook = f"http://127.0.0.1:{port}/bot/twilio/messages#rc=5&rp=ct"
        async with (
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
                sys.executable, "-m", "uvicorn", "--app-dir", str(EXAMPLES), "mounted:api",
                "--port", str(port), cwd=tmp_path, env=environment, stderr=subprocess.PIPE,
            )  # fmt: skip
            try:
                await _started(server)
                async with asyncio.timeout(60):
                    delivered = await simulator.text("hello")
                    assert delivered.status == 200
                    return (await simulator.wait_for()).body
            finally:
                server.terminate()
                await server.communicate()

    assert asyncio.run(scenario()) == "Hello from FastAPI, +15551230001!"


async def _started(server: asyncio.subprocess.Process) -> None:
    seen = b""
    while b"Uvicorn running" not in seen:
        line = await server.stderr.readline() if server.stderr else b""
        assert line, seen.decode()
        seen += line
