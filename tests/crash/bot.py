"""The bot that the crash tests kill. It keeps a journal of its own, beside offhook's store.

Each line goes out in one write to a file opened for appending, so that the lines of several
processes never mix, their order is that of the writes, and SIGKILL loses none.
"""

import asyncio
import os
import random
import time

from offhook import Discard, Message, Offhook

LONGEST = 0.3  # seconds that a handler takes: long enough for each kill to hit some

app = Offhook()
_journal = os.open(os.environ["CRASH_JOURNAL"], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)


class Unwell(Exception):  # noqa: N818 - it is no error of the bot's
    """Raised by handlers that shall fail."""


def write(event: str, message: Message) -> None:
    conversation, number, _ = message.body.split()
    line = f"{event} {message.sid} {message.attempt} {conversation} {number} {os.getpid()}\n"
    os.write(_journal, line.encode())


def wants(action: str, message: Message) -> bool:
    return message.body.endswith(f" {action}")


@app.message(where=lambda message: wants("thread", message))
def answer_from_a_thread(message: Message) -> str:
    write("start", message)
    time.sleep(random.uniform(0, LONGEST))
    write("done", message)
    return f"re {message.body}"


@app.message(where=lambda message: wants("broken", message), max_attempts=2)
async def fail(message: Message) -> str:
    write("start", message)
    await asyncio.sleep(random.uniform(0, LONGEST))
    write("failed", message)
    raise Unwell


@app.message()
async def answer(message: Message) -> str | None:
    write("start", message)
    await asyncio.sleep(random.uniform(0, LONGEST))
    match message.body.split()[2]:
        case "reply" | "flaky":
            await message.reply(f"re {message.body}")
        case "discard":
            write("discarded", message)
            raise Discard("not wanted")
    if wants("flaky", message) and message.attempt == 1:
        write("failed", message)
        raise Unwell
    write("done", message)
    return f"re {message.body}" if wants("return", message) else None
