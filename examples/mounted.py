"""A bot inside a FastAPI application that does other things too.

    TWILIO_ACCOUNT_SID=AC... TWILIO_AUTH_TOKEN=... uvicorn mounted:api

The webhook is then https://<your host>/bot/twilio/messages. With OFFHOOK_PUBLIC_URL set, replies
have status callbacks as well.
"""

from fastapi import FastAPI

from offhook import Message, Offhook

bot = Offhook(mount_path="/bot")


@bot.message()
def answer(message: Message) -> str:
    # A plain function runs in a thread: what blocks in it delays nobody's answer.
    return f"Hello from FastAPI, {message.profile_name or message.from_}!"


api = FastAPI(lifespan=bot.lifespan)  # or `async with bot.lifespan():` within your own
api.mount("/bot", bot)


@api.get("/")
async def home() -> dict[str, str]:
    return {"bot": "/bot/twilio/messages"}
