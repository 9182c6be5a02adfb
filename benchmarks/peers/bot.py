"""offhook, with the handler that the peers have."""

from benchmarks.peers.work import answer
from offhook import Message, Offhook

app = Offhook()


@app.message()
async def handle(message: Message) -> None:
    await answer(message.sid)
