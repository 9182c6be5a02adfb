"""A worker that is stopped for longer than its leases, and wakes: what it ran, another runs now.

Once a later run of a message has begun, an earlier one gets no further than its next `await`, and
nothing it says is sent. Handlers that run in threads can't be cancelled; they are not meant here.
"""

import asyncio
import os
import signal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import pytest

from offhook.twilio.simulator import Outbound
from testing.commands import Process, until
from testing.postgres import postgres
from testing.roles import Site, in_thread, listening, site, working

LEASE = 4.0
MESSAGES = 8  # at once, so that some of their handlers are ready at the moment of the stop
LOST = "another run has claimed message"

# Handlers step quickly, until there is a file called `go`.
BOT = """
import asyncio, os, time
from pathlib import Path

from offhook import Message, Offhook

app = Offhook()
journal = Path("journal").open("a", buffering=1)

@app.message()
async def answer(message: Message) -> str:
    run = os.urandom(4).hex()
    go = Path("..", "go-" + message.body.partition("/")[0])
    step = 0
    while not go.exists():
        journal.write(f"{time.monotonic()} {message.body} {run} {step}\\n")
        step += 1
        await asyncio.sleep(0.005)
    return f"{message.body} {run}"
"""


class Line(NamedTuple):
    moment: float
    body: str
    run: str
    step: int


def journal(machine: Path) -> list[Line]:
    path = machine / "journal"
    # A worker may be writing, or be stopped amid, the last line.
    whole, _, _ = (path.read_text() if path.exists() else "").rpartition("\n")
    parts = (line.split() for line in whole.splitlines())
    return [Line(float(moment), body, run, int(step)) for moment, body, run, step in parts]


def overlaps(lines: Iterable[Line]) -> list[str]:
    """Return the runs that went on for more than a step beside a later one of their message."""
    runs: dict[str, dict[str, list[Line]]] = defaultdict(lambda: defaultdict(list))
    for line in sorted(lines):
        runs[line.body][line.run].append(line)
    found = []
    for body, of_body in runs.items():
        starts = sorted(of[0].moment for of in of_body.values())
        for of in of_body.values():
            later = next((start for start in starts if start > of[0].moment), float("inf"))
            beside = [line for line in of if line.moment > later]
            if len(beside) > 1:
                found.append(f"{body}: {len(beside)} steps beside its next run")
    return found


def answers(body: str, sent: Outbound) -> bool:
    return sent.body.split()[0] == body


async def stop_and_wake(here: Site, workers: Mapping[str, Process], round_: int) -> None:
    """Stop a worker amid its handlers, until another has begun all of theirs; then wake it."""
    bodies = {f"{round_}/{n}" for n in range(MESSAGES)}
    for n, body in enumerate(sorted(bodies)):
        assert (await here.simulator.text(body, from_=f"+1555000{n:04}")).status == 200

    def begun(on: str) -> set[str]:
        return {line.body for line in journal(here.path / on)} & bodies

    await in_thread(lambda: until(lambda: begun("a") | begun("b") == bodies))
    # One of them may have been quick enough to claim everything.
    other, machine = sorted(workers, key=lambda machine: len(begun(machine)))
    worker = workers[machine]
    (pid,) = worker.children("process.main worker")
    known = worker.output.count(LOST)
    os.kill(pid, signal.SIGSTOP)
    try:
        taken = begun(machine)
        await in_thread(lambda: until(lambda: taken <= begun(other)))
    finally:
        os.kill(pid, signal.SIGCONT)
    await in_thread(lambda: worker.wait_for(LOST, known + len(taken)))
    (here.path / f"go-{round_}").touch()
    for n, body in enumerate(sorted(bodies)):
        async with asyncio.timeout(60):
            await here.simulator.wait_for(partial(answers, body), to=f"+1555000{n:04}")


@contextmanager
def store_url(kind: str) -> Iterator[dict[str, str]]:
    if kind == "sqlite":
        yield {}
        return
    with postgres() as server:
        yield {"OFFHOOK_STORE": server.create_database("stopped")}


def survive(path: Path, kind: str, rounds: int) -> None:
    async def scenario() -> None:
        environment = {"OFFHOOK_LEASE": str(LEASE), "OFFHOOK_SLOW_NOTICE": "", **store}
        async with site(path, BOT, **environment) as here:
            with here.ingress() as ingress, here.worker("a") as a, here.worker("b") as b:
                await listening(ingress)
                for worker in (a, b):
                    await working(worker)
                for n in range(rounds):
                    await stop_and_wake(here, {"a": a, "b": b}, n)
                lines = journal(path / "a") + journal(path / "b")
                assert overlaps(lines) == []
                bodies = [sent.body.split()[0] for sent in here.simulator.sent]
                assert sorted(bodies) == sorted(set(bodies)), "a reply was doubled"

    with store_url(kind) as store:
        asyncio.run(scenario())


STORES = pytest.mark.parametrize("kind", ["sqlite", "postgresql"])


@STORES
def test_a_worker_that_wakes_cancels_what_another_runs(tmp_path: Path, kind: str) -> None:
    survive(tmp_path, kind, 1)


@pytest.mark.long
@pytest.mark.timeout(1800)
@STORES
def test_a_worker_that_wakes_cancels_what_another_runs_in_a_long_run(
    tmp_path: Path, kind: str
) -> None:
    survive(tmp_path, kind, 40)
