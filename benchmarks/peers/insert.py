"""FastAPI with one INSERT for each message, and a worker that takes them with SKIP LOCKED.

https://magicstack.github.io/asyncpg/current/usage.html#connection-pools,
https://www.postgresql.org/docs/current/sql-select.html#SQL-FOR-UPDATE-SHARE
"""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import asyncpg
from fastapi import FastAPI, Response

from benchmarks.peers.form import Form, acknowledge
from benchmarks.peers.work import answer

_URL = os.environ.get("BENCH_POSTGRES", "")
_TABLE = """
CREATE TABLE IF NOT EXISTS inbox (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    sid text UNIQUE NOT NULL, sender text NOT NULL, body text NOT NULL, done boolean DEFAULT false
);
CREATE INDEX IF NOT EXISTS inbox_open ON inbox (id) WHERE NOT done;
"""
_INSERT = "INSERT INTO inbox (sid, sender, body) VALUES ($1, $2, $3) ON CONFLICT DO NOTHING"
_CLAIM = "SELECT id, sid FROM inbox WHERE NOT done ORDER BY id LIMIT 10 FOR UPDATE SKIP LOCKED"
_DONE = "UPDATE inbox SET done = true WHERE id = any($1)"


class Database:
    """The pool, while the app is up."""

    pool: asyncpg.Pool


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    async with asyncpg.create_pool(_URL) as Database.pool:
        await Database.pool.execute(_TABLE)
        yield


app = FastAPI(lifespan=_lifespan)


@app.post("/twilio/messages")
async def receive(form: Form) -> Response:
    await Database.pool.execute(_INSERT, form["MessageSid"], form["From"], form["Body"])
    return acknowledge()


async def work() -> None:
    """Handle ten at a time, one connection each for two of them."""
    async with asyncpg.create_pool(_URL) as pool, asyncio.TaskGroup() as group:
        for _ in range(2):
            group.create_task(_claim(pool))


async def _claim(pool: asyncpg.Pool) -> None:
    while True:
        async with pool.acquire() as connection, connection.transaction():
            rows = await connection.fetch(_CLAIM)
            await asyncio.gather(*(answer(row["sid"]) for row in rows))
            await connection.execute(_DONE, [row["id"] for row in rows])
        if not rows:
            await asyncio.sleep(0.05)


if __name__ == "__main__":
    asyncio.run(work())
