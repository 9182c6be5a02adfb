"""A bot that repeats what people write: change `answer`."""

from offhook import Message, Offhook

app = Offhook()


@app.message()
async def answer(message: Message) -> str:
    """Return the reply to a message."""
    return f"You said: {message.body}"
