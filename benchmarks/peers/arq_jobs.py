"""FastAPI with arq: jobs in Redis, handled by `arq benchmarks.peers.arq_jobs.WorkerSettings`.

https://arq-docs.helpmanual.io/
"""

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, ClassVar

from arq import ArqRedis, create_pool
from arq.connections import RedisSettings
from fastapi import FastAPI, Response

from benchmarks.peers import work
from benchmarks.peers.form import Form, acknowledge

_REDIS = RedisSettings.from_dsn(os.environ.get("BENCH_REDIS", "redis://127.0.0.1"))


class Queue:
    """The pool, while the app is up."""

    redis: ArqRedis


@asynccontextmanager
async def _lifespan(_app: FastAPI) -> AsyncIterator[None]:
    Queue.redis = await create_pool(_REDIS)
    yield
    await Queue.redis.aclose()


app = FastAPI(lifespan=_lifespan)


@app.post("/twilio/messages")
async def receive(form: Form) -> Response:
    sid = form["MessageSid"]
    await Queue.redis.enqueue_job("answer", sid, _job_id=sid)  # the same webhook twice is one job
    return acknowledge()


async def answer(_context: dict[str, Any], sid: str) -> None:
    await work.answer(sid)


class WorkerSettings:
    """What `arq` reads."""

    functions: ClassVar = [answer]
    redis_settings = _REDIS
