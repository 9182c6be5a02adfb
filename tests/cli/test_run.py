"""`offhook run`: what dies is replaced, and nothing that was acknowledged is lost."""

import asyncio
import json
import os
import resource
import signal
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TypeVar

import pytest
import pytest_asyncio

from offhook.twilio.simulator import Simulator
from testing.commands import Call, Home, Process, is_alive, until
from testing.ports import free_port

T = TypeVar("T")
ACCOUNT = Simulator.credentials()

# A bot whose first run of all hangs until there is a file called `go`. It leaves its process' id
# in a file, so that the test knows where the message is.
BOT = """
import asyncio, os, time
from pathlib import Path

from offhook import Message, Offhook

app = Offhook()

def begins() -> bool:
    if Path("first").exists():
        return False
    Path("first.tmp").write_text(str(os.getpid()))
    Path("first.tmp").rename("first")
    return True

@app.message(where=lambda message: "hang" in message.body)
async def hang(message: Message) -> str:
    if begins():
        while not Path("go").exists():
            await asyncio.sleep(0.01)
    return f"{message.body} {os.getpid()}"

@app.message(where=lambda message: "block" in message.body)
async def block(message: Message) -> str:
    if begins():
        time.sleep(3600)
    return f"{message.body} {os.getpid()}"

@app.message()
async def answer(message: Message) -> str:
    return f"{message.body} {os.getpid()}"
"""


class Line:
    """A running `offhook run`, and a simulated Twilio on the other side of it."""

    def __init__(self, process: Process, home: Home, simulator: Simulator) -> None:
        self.process = process
        self.home = home
        self.simulator = simulator

    async def reply_to(self, body: str, *, from_: str = "+15551230001") -> str:
        delivered = await self.simulator.text(body, from_=from_)
        assert delivered.status == 200, self.process.explain()
        return await self.reply(delivered.from_, delivered.after)

    async def reply(self, to: str, after: int = 0) -> str:
        async with asyncio.timeout(60):
            return (await self.simulator.wait_for(to=to, after=after)).body

    async def hanging(self, body: str, *, from_: str = "+15551230001") -> int:
        """Send a message whose handler hangs; return the worker that has it."""
        assert (await self.simulator.text(body, from_=from_)).status == 200, self.process.explain()
        first = self.home.directory / "first"
        await in_thread(lambda: until(first.exists, self.process.explain))
        return int(first.read_text())

    def let_go(self) -> None:
        (self.home.directory / "go").touch()

    async def ended(self) -> int:
        return await in_thread(self.process.exit_status)


@asynccontextmanager
async def answering(directory: Path, *options: str, **environment: str) -> AsyncIterator[Line]:
    url = f"http://127.0.0.1:{free_port()}"
    async with (
        Simulator(**ACCOUNT._asdict(), webhook_url=f"{url}/twilio/messages") as simulator,
        simulator.serve() as api,
    ):
        home = Home(
            directory,
            BOT,
            TWILIO_ACCOUNT_SID=ACCOUNT.account_sid,
            TWILIO_AUTH_TOKEN=ACCOUNT.auth_token,
            OFFHOOK_PUBLIC_URL=url,
            OFFHOOK_TWILIO_API=api,
            OFFHOOK_SLOW_NOTICE="",  # a machine that is slow would send it before the reply
            **environment,
        )
        port = url.rpartition(":")[2]
        with home.start("run", "bot:app", "--port", port, *options) as process:
            await in_thread(lambda: process.wait_for("listening on"))
            yield Line(process, home, simulator)


async def in_thread(work: Callable[[], T]) -> T:
    return await asyncio.to_thread(work)


async def test_answers_come_from_workers_and_ctrl_c_ends_all_of_it(tmp_path: Path) -> None:
    async with answering(tmp_path, "--ingresses", "2", "--workers", "2") as line:
        children = line.process.children()
        workers = line.process.children("process.main worker")
        assert (len(children), len(workers)) == (4, 2)

        reply = await line.reply_to("hello")
        assert reply.split()[0] == "hello"
        assert int(reply.split()[1]) in workers

        line.process.interrupt()  # all processes of the terminal get it
        assert await line.ended() == 0
        assert "Traceback" not in line.process.output
        assert not any(is_alive(child) for child in children)


async def test_a_worker_whose_loop_stands_still_is_replaced(tmp_path: Path) -> None:
    async with answering(
        tmp_path,
        OFFHOOK_LEASE="120",
        OFFHOOK_HANDLER_TIMEOUT="0.5",
        OFFHOOK_TIMEOUT_NOTICE="",
    ) as line:
        worker = await line.hanging("block")
        reply = await line.reply("+15551230001")
        assert int(reply.split()[1]) != worker
        assert "worker-1 is not responding; killing it" in line.process.output
        assert not is_alive(worker)


async def test_sigterm_lets_what_has_begun_finish_and_accepts_nothing_more(tmp_path: Path) -> None:
    async with answering(tmp_path) as line:
        worker = await line.hanging("hang")
        line.process.send(signal.SIGTERM)
        await in_thread(lambda: until(lambda: refuses(line.simulator.webhook_url)))
        assert is_alive(worker), "it drains"

        line.let_go()
        assert await line.ended() == 0
        assert await line.reply("+15551230001") == f"hang {worker}"


async def test_what_does_not_finish_in_time_is_there_at_the_next_start(
    tmp_path: Path, call_in: Callable[[Home], Call]
) -> None:
    async with answering(tmp_path, OFFHOOK_DRAIN_TIMEOUT="0.2") as line:
        await line.hanging("hang")
        line.process.send(signal.SIGTERM)
        assert await line.ended() == 0
        call = call_in(line.home)
        listed = await in_thread(lambda: call("messages", "list", "--json"))
        assert json.loads(listed.stdout)["state"] == "open"

    async with answering(tmp_path) as line:
        call = call_in(line.home)
        stats = await in_thread(lambda: call("stats", "--json"))
        assert json.loads(stats.stdout)["messages"]["dead"] == 0
        assert (await line.reply("+15551230001")).split()[0] == "hang"


async def test_a_second_signal_ends_it_now(tmp_path: Path) -> None:
    async with answering(tmp_path, OFFHOOK_DRAIN_TIMEOUT="300") as line:
        worker = await line.hanging("hang")
        line.process.send(signal.SIGTERM)
        await in_thread(lambda: until(lambda: refuses(line.simulator.webhook_url)))
        line.process.send(signal.SIGTERM)
        assert await line.ended() == 0
        assert not is_alive(worker)


async def test_children_end_by_themselves_when_the_supervisor_is_killed(tmp_path: Path) -> None:
    async with answering(tmp_path) as line:
        children = line.process.children()
        assert len(children) == 2
        line.process.send(signal.SIGKILL)
        await in_thread(lambda: until(lambda: not any(is_alive(child) for child in children)))


def niceness(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[16])


def refuses(url: str) -> bool:
    port = int(url.split(":")[2].partition("/")[0])
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except ConnectionRefusedError:
        return True
    return False


async def test_a_worker_that_cannot_be_replaced_for_now_leaves_the_ingress_alone(
    tmp_path: Path,
) -> None:
    async with answering(tmp_path) as line:
        assert (await line.reply_to("before")).startswith("before")
        supervisor = line.process.pid
        (worker,) = line.process.children("process.main worker")
        limits = resource.prlimit(supervisor, resource.RLIMIT_NOFILE)
        # What is open stays open; there is nothing left for a lifeline, or for the store.
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, (3, limits[1]))
        os.kill(worker, signal.SIGKILL)
        text = "worker-1 can't be started; retrying: Too many open files"
        await in_thread(lambda: line.process.wait_for(text))
        delivered = await line.simulator.text("meanwhile", from_="+15551230002")
        assert delivered.status == 200, line.process.explain()
        resource.prlimit(supervisor, resource.RLIMIT_NOFILE, limits)
        reply = await line.reply("+15551230002", delivered.after)
        assert reply.startswith("meanwhile")
        assert line.process.output.count(text) == 1
        assert "worker-1 has restarted" in line.process.output
        assert "Traceback" not in line.process.output
        line.process.interrupt()
        assert await line.ended() == 0


# Last in the file: the loop that they share runs only during these tests.
sharing = pytest.mark.asyncio(loop_scope="module")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Line]:
    """Return a running `offhook run`, for tests that leave it up and write from other numbers."""
    directory = tmp_path_factory.mktemp("shared")
    # A lease that outlasts the patience of those who wait for a reply.
    async with answering(directory, "--worker-nice", "7", OFFHOOK_LEASE="120") as line:
        yield line


@sharing
async def test_a_killed_worker_is_replaced_and_its_message_goes_on_before_its_lease_ends(
    shared: Line,
) -> None:
    number = "+15551230011"
    worker = await shared.hanging("hang", from_=number)
    os.kill(worker, signal.SIGKILL)
    reply = await shared.reply(number)
    assert reply.split()[0] == "hang"
    assert int(reply.split()[1]) != worker
    assert "worker-1 was killed by SIGKILL" in shared.process.output


@sharing
async def test_an_ingress_is_replaced_and_who_calls_meanwhile_is_answered(shared: Line) -> None:
    (ingress,) = shared.process.children("process.main ingress")
    os.kill(ingress, signal.SIGKILL)
    # The socket is the supervisor's: this waits in it until the next ingress is there.
    reply = await shared.reply_to("hello", from_="+15551230012")
    assert reply.split()[0] == "hello"
    assert shared.process.children("process.main ingress") != [ingress]


@sharing
async def test_workers_are_nice_so_that_answers_are_not_delayed(shared: Line) -> None:
    await shared.reply_to("hello", from_="+15551230013")
    (worker,) = shared.process.children("process.main worker")
    (ingress,) = shared.process.children("process.main ingress")
    assert (niceness(worker) - niceness(ingress)) == 7
