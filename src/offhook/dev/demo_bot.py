"""The bot of `offhook demo`: an ordinary bot, which `offhook dev demo_bot:app` runs too."""

import asyncio

from offhook import Message, Offhook

app = Offhook()


@app.message(where=lambda message: "think" in message.body)
async def think() -> str:
    """Take as long as a language model might."""
    await asyncio.sleep(2)
    return "I have thought about it. The answer is 42."


@app.message(where=lambda message: "stumble" in message.body)
async def stumble(message: Message) -> str:
    """Fail once, like a service during a restart."""
    if message.attempt == 1:
        raise ConnectionError("the model is away for a moment")
    return f"There I am. It took me {message.attempt} attempts."


@app.message(where=lambda message: "break" in message.body, max_attempts=2)
async def fall() -> str:
    """Fail for good."""
    raise ValueError("nobody has thought of this")


@app.message()
async def answer(message: Message) -> str:
    """Answer at once."""
    return f"You said: {message.body}"
