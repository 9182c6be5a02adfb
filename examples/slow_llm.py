"""A bot that answers as a language model does: slowly, and a sentence at a time.

    offhook dev slow_llm:app
    offhook text "tell me a story"

Each sentence leaves as soon as it is there. Should the process die half-way, the message is
handled again, and sentences that were sent already are not sent twice.
"""

import asyncio
import random
from collections.abc import AsyncIterator

from offhook import Message, Offhook

app = Offhook(handler_timeout=60, slow_notice="Let me think ...", slow_notice_after=5)


async def stream(prompt: str) -> AsyncIterator[str]:
    """Stand in for a model: words, one after the other."""
    text = f"You ask: {prompt}. I have thought about it. There is more than one answer."
    for word in text.split():
        await asyncio.sleep(random.uniform(0.02, 0.1))
        yield word


async def sentences(words: AsyncIterator[str]) -> AsyncIterator[str]:
    sentence: list[str] = []
    async for word in words:
        sentence.append(word)
        if word.endswith((".", "!", "?")):
            yield " ".join(sentence)
            sentence = []
    if sentence:
        yield " ".join(sentence)


@app.message()
async def answer(message: Message) -> None:
    async for sentence in sentences(stream(message.body)):
        await message.reply(sentence)
