"""FastAPI with taskiq over Redis, handled by `taskiq worker benchmarks.peers.taskiq_tasks:broker`.

https://taskiq-python.github.io/guide/getting-started.html; the stream broker is the one with
acknowledgements: https://github.com/taskiq-python/taskiq-redis
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Response
from taskiq_redis import RedisStreamBroker

from benchmarks.peers import work
from benchmarks.peers.form import Form, acknowledge

broker = RedisStreamBroker(os.environ.get("BENCH_REDIS", "redis://127.0.0.1"))


@broker.task
async def answer(sid: str) -> None:
    await work.answer(sid)


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    if not broker.is_worker_process:
        await broker.startup()
    yield
    if not broker.is_worker_process:
        await broker.shutdown()


app = FastAPI(lifespan=_lifespan)


@app.post("/twilio/messages")
async def receive(form: Form) -> Response:
    await answer.kiq(form["MessageSid"])
    return acknowledge()
