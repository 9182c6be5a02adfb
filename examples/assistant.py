"""An assistant with a memory: the prompt is what both sides have said before."""

import asyncio
import re

from offhook import Message, Offhook, Turn

app = Offhook()
Line = dict[str, str]


async def model(prompt: list[Line]) -> str:
    """Stand in for a language model, which takes some time and remembers nothing itself."""
    await asyncio.sleep(0.3)
    said = [line["content"] for line in prompt if line["role"] == "user"]
    names = [found[1] for text in said if (found := re.search(r"my name is (\w+)", text))]
    if "name" not in said[-1]:
        return f"You have written {len(said)} messages."
    return f"Your name is {names[-1]}." if names else "You have not told me."


def line(turn: Turn) -> Line:
    return {"role": "user" if turn.direction == "inbound" else "assistant", "content": turn.body}


@app.message(where=lambda message: message.body)
async def answer(message: Message) -> str:
    await message.typing()
    history = await message.conversation.history(limit=30)
    return await model([*map(line, history), {"role": "user", "content": message.body}])


@app.message()
async def no_text(_: Message) -> str:
    return "I can only read texts."
