"""What a webhook costs, counted in bytecodes: the same on every machine, however busy it is.

    .venv/bin/python -m benchmarks.cost [--requests 512]

The app is called without a server, so all that is counted is offhook's own. 64 requests are under
way at a time. What C does, SQLite and the kernel above all, is not
counted; a step that is taken once more for each request is, and that is what creeps in unseen.
"""

import argparse
import asyncio
import contextlib
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import uvloop
from starlette.types import Message

from benchmarks import load
from offhook import Offhook

_AT_ONCE = 64


@dataclass(frozen=True)
class Cost:
    """Of one request, on average; `functions` has each function's own bytecodes."""

    bytecodes: float
    calls: float
    functions: Counter[str]


def measure(folder: Path, requests: int = 512) -> tuple[Cost, Cost]:
    """Return the cost of a new webhook, and of one that was answered before."""
    return uvloop.run(_measure(folder, requests))


async def _measure(folder: Path, requests: int) -> tuple[Cost, Cost]:
    app = Offhook(
        worker="external",
        account_sid=load.ACCOUNT,
        auth_token=load.TOKEN,
        public_url=load.PUBLIC_URL,
        store=f"sqlite:///{folder}/offhook.db",
        enqueue_timeout=60.0,  # it is counted, not timed, also on a machine that is busy
    )
    async with app.lifespan():
        await _drive(app, load.webhooks(2 * _AT_ONCE))  # what is made once is made by now
        webhooks = load.webhooks(requests)
        return await _counted(app, webhooks), await _counted(app, webhooks)


async def _counted(app: Offhook, webhooks: Sequence[bytes]) -> Cost:
    with _counting() as (bytecodes, calls):
        await _drive(app, webhooks)
    count = len(webhooks)
    functions = Counter[str]()
    for code, number in bytecodes.items():
        functions[f"{Path(code.co_filename).name}:{code.co_qualname}"] += number
    return Cost(bytecodes.total() / count, calls.total() / count, functions)


@contextlib.contextmanager
def _counting() -> Iterator[tuple[Counter[CodeType], Counter[CodeType]]]:
    bytecodes, calls = Counter[CodeType](), Counter[CodeType]()
    here = Path(__file__).name

    def count(frame: FrameType, event: str, _: Any) -> Any:
        if event == "opcode":
            bytecodes[frame.f_code] += 1
        return count

    def enter(frame: FrameType, _event: str, _: Any) -> Any:
        if frame.f_code.co_filename.endswith(here):
            return None
        frame.f_trace_opcodes, frame.f_trace_lines = True, False
        calls[frame.f_code] += 1
        return count

    before = sys.gettrace()
    sys.settrace(enter)
    try:
        yield bytecodes, calls
    finally:
        sys.settrace(before)


async def _drive(app: Offhook, webhooks: Sequence[bytes]) -> None:
    rest = iter(webhooks)

    async def client() -> None:
        for data in rest:
            await _send(app, data)

    await asyncio.gather(*(client() for _ in range(_AT_ONCE)))


async def _send(app: Offhook, data: bytes) -> None:
    head, _, body = data.partition(b"\r\n\r\n")
    lines = [line.partition(b": ") for line in head.split(b"\r\n")[1:]]
    scope = {
        "type": "http", "http_version": "1.1", "method": "POST", "scheme": "http",
        "path": load.PATH, "root_path": "",
        "raw_path": load.PATH.encode(), "query_string": b"", "client": ("127.0.0.1", 1),
        "headers": [(name.lower(), value) for name, _, value in lines],
    }  # fmt: skip
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": body}

    async def send(message: Message) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if sent[0]["status"] != 200:
        raise RuntimeError(f"answered {sent[0]['status']}")


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--requests", type=int, default=512)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        fresh, repeat = measure(Path(folder), given.requests)
    print(f"{'':28} {'bytecodes':>10} {'calls':>7}")
    for name, cost in (("a new webhook", fresh), ("a repeat, from memory", repeat)):
        print(f"{name:28} {cost.bytecodes:10,.0f} {cost.calls:7.0f}")
    print("\nof a new webhook:")
    for name, number in fresh.functions.most_common(25):
        print(f"{number / given.requests:8.0f}  {name}")


if __name__ == "__main__":
    main()
