"""What every peer does with a message: the same, and next to nothing."""

import asyncio
import os
import time

SECONDS = float(os.environ.get("BENCH_HANDLER_SECONDS", "0"))
"""A handler takes so long; none when rates are measured."""

_file = os.open(
    os.environ.get("BENCH_HANDLED", os.devnull), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600
)


def note(sid: str) -> None:
    """Write down that a message was handled: a line survives the process, whatever kills it."""
    os.write(_file, f"{sid}\n".encode())


async def answer(sid: str) -> None:
    if SECONDS:
        await asyncio.sleep(SECONDS)
    note(sid)


def answer_in_thread(sid: str) -> None:
    if SECONDS:
        time.sleep(SECONDS)
    note(sid)
