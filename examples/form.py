"""A form with a photo. The state of the conversation says which question is open."""

from offhook import Message, Offhook

app = Offhook()


@app.message(state={"step": "name"})
async def name(message: Message) -> str:
    message.conversation.state.update(step="age", name=message.body)
    return f"Hello {message.body}. How old are you?"


@app.message(state={"step": "age"}, where=lambda message: message.body.isdecimal())
async def age(message: Message) -> str:
    message.conversation.state.update(step="photo", age=int(message.body))
    return "Send me a photo of yourself, please."


@app.message(state={"step": "photo"}, where=lambda message: message.media)
async def photo(message: Message) -> str:
    state = message.conversation.state
    file = f"{message.sid}.jpg"  # a repeated attempt replaces it
    await message.media[0].save(file)
    print("filled in:", dict(state), file)
    state["step"] = "done"
    return f"Thank you, {state['name']}, {state['age']}. That is all."


@app.message(state={"step": None})
async def begin(message: Message) -> str:
    message.conversation.state["step"] = "name"
    return "Welcome. What is your name?"


@app.message()
async def explain(message: Message) -> str:
    open_ = {"age": "Your age in years, please.", "photo": "A photo, please."}
    return open_.get(message.conversation.state["step"], "We have all we need. Thank you.")
