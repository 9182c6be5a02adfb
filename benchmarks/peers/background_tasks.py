"""FastAPI with `BackgroundTasks`: what most begin with. Nothing is kept anywhere.

https://fastapi.tiangolo.com/tutorial/background-tasks/
"""

from fastapi import BackgroundTasks, FastAPI, Response

from benchmarks.peers.form import Form, acknowledge
from benchmarks.peers.work import answer

app = FastAPI()


@app.post("/twilio/messages")
async def receive(form: Form, background: BackgroundTasks) -> Response:
    background.add_task(answer, form["MessageSid"])
    return acknowledge()
