"""Flask on gunicorn with RQ, handled by `rq worker`.

https://python-rq.org/docs/, and Twilio's tutorial for Flask (see `form`).
"""

import os

from flask import Flask, Response, abort, request
from redis import Redis
from rq import Queue
from twilio.request_validator import RequestValidator  # type: ignore[import-untyped]

from benchmarks.peers.work import answer_in_thread

PUBLIC_URL = os.environ.get("OFFHOOK_PUBLIC_URL", "")

app = Flask(__name__)
queue = Queue(connection=Redis.from_url(os.environ.get("BENCH_REDIS", "redis://127.0.0.1")))
validator = RequestValidator(os.environ.get("TWILIO_AUTH_TOKEN", ""))


@app.post("/twilio/messages")
def receive() -> Response:
    signature = request.headers.get("X-Twilio-Signature", "")
    if not validator.validate(PUBLIC_URL + request.path, request.form, signature):
        abort(403)
    queue.enqueue(answer_in_thread, request.form["MessageSid"])
    return Response("<Response/>", mimetype="text/xml")
