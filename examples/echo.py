"""The smallest bot: it says what you said.

offhook dev echo:app
offhook text hello
"""

from offhook import Message, Offhook

app = Offhook()


@app.message()
async def answer(message: Message) -> str:
    return f"You said: {message.body}"
