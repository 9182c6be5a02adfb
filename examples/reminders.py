"""Reminders: write to people at a time of their choice, and ask again if they do not answer."""

import re
from datetime import timedelta

from offhook import Message, Offhook, StatusUpdate

app = Offhook()
REMINDER = re.compile(r"in (\d{1,6}) ?(s|min|h)\w*:? (.+)", re.IGNORECASE | re.DOTALL)
SECONDS = {"s": 1, "min": 60, "h": 3600}


@app.message()
async def remind(message: Message) -> str:
    asked = REMINDER.fullmatch(message.body)
    if asked is None:
        return "Write for example: in 10 min: take out the bread"
    count, unit, text = asked.groups()
    after = timedelta(seconds=int(count) * SECONDS[unit.lower()])
    # With the key, a second attempt of this handler schedules nothing twice.
    await app.send(message.from_, text, at=after, key=f"{message.sid} reminder")
    await app.send(
        message.from_,
        f"Have you done it? ({text})",
        at=after + timedelta(minutes=10),
        key=f"{message.sid} question",
        unless_reply=True,  # whoever writes meanwhile has read the reminder
    )
    return f"I will remind you in {count} {unit}."


@app.status(where=lambda status: status.error_code == "63016")
async def window_closed(status: StatusUpdate) -> None:
    print(f"WhatsApp wants a template for {status.sid}: the last message is a day old")
