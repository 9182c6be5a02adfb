"""FastAPI with Celery over Redis, handled by a worker of its own.

https://docs.celeryq.dev/en/stable/getting-started/first-steps-with-celery.html
"""

import os

from celery import Celery
from fastapi import FastAPI, Response

from benchmarks.peers.form import Form, acknowledge
from benchmarks.peers.work import answer_in_thread

celery = Celery("peers", broker=os.environ.get("BENCH_REDIS", "redis://127.0.0.1"))
celery.conf.task_ignore_result = True

app = FastAPI()


@celery.task
def answer(sid: str) -> None:
    answer_in_thread(sid)


@app.post("/twilio/messages")
def receive(form: Form) -> Response:  # in a thread: `delay` blocks
    answer.delay(form["MessageSid"])
    return acknowledge()
